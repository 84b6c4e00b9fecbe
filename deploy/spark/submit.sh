#!/usr/bin/env bash
# A backfill over a bulk export in an object store, on a cluster that spark-submit reaches.
# The executors need this package: an image or an environment with `pip install 'osteoporosis-screener[spark]'`.
set -euo pipefail
: "${SPARK_MASTER:?the cluster, e.g. spark://master:7077, yarn, or local[*] to try}"
: "${SOURCE:?the export, e.g. s3a://bucket/export}"
: "${DESTINATION:?where the assessments go, e.g. s3a://bucket/assessments}"

exec spark-submit \
  --master "$SPARK_MASTER" \
  --conf spark.executor.memory=4g \
  --conf spark.executor.memoryOverheadFactor=0.5 \
  --conf spark.sql.adaptive.enabled=true \
  --conf spark.speculation=false \
  --conf spark.io.encryption.enabled=true \
  "$(dirname "${BASH_SOURCE[0]}")/screener_job.py" \
  run --backfill --engine spark --from "$SOURCE" --to "$DESTINATION" --summary summary.json --log-format json "$@"
