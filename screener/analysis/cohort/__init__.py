"""A validation cohort from the site's own records: the job's women, with what is known of their bones, without identifiers."""
