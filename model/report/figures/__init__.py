"""One module a figure. Functions take arrays or a nomogram and return a matplotlib Figure."""
