"""Reads the shipped lists where it is imported: by the process that the workers of a folder are forked from."""

from screener.clinical import exclusions, suspicions

exclusions.effective((), ())
suspicions.preload()
