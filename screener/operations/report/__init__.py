"""The report of a run: one page of HTML with counts only, for people who look at it after the night."""
