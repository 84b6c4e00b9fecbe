"""Reads the shipped lists on import. The process that workers are forked from imports it once for all of them."""

from screener.clinical import exclusions, suspicions

exclusions.effective((), (), ())
suspicions.preload()
