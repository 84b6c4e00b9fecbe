"""Benchmarks: one command, never part of pass or fail (`make bench`)."""
