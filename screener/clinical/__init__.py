"""The clinical rules, pure: no network, no clock, no files but the data tables shipped beside the code."""
