"""Folders of NDJSON, as source and as destination, in memory that does not grow with them."""
