"""What every room may use: errors, batches, plurals, small counts, tables as files. Nothing clinical."""
