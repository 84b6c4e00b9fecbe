"""A site's own women: the published model judged on them, recalibrated to them, or the paper's whole method run on them."""
