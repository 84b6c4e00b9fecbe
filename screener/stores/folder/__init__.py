"""Folders of NDJSON as source and as destination. Memory does not grow with the folder."""
