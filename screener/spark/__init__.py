"""A backfill from folders or object stores on Apache Spark: the same map, the same pipeline, on a cluster's partitions."""
