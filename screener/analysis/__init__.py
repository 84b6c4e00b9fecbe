"""Words and counts about verdicts: no rule of its own."""
