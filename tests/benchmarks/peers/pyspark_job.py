"""PySpark: the bare selection (newest Mg per patient, with the newest weight and height before it), for orientation."""

import os
import sys
from pathlib import Path

from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as f

SCHEMA = """
    code struct<coding: array<struct<code: string>>>,
    subject struct<reference: string>,
    effectiveDateTime string,
    valueQuantity struct<value: double>
"""


def main(folder: Path) -> int:
    """How many results are selected."""
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    spark = (
        SparkSession.builder.master("local[*]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "8")
        .config("spark.driver.memory", "4g")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    results = (
        spark.read.schema(SCHEMA)
        .json(str(folder / "Observation*.ndjson"))
        .select(
            f.col("subject.reference").alias("patient"),
            f.col("code.coding")[0]["code"].alias("code"),
            f.to_timestamp("effectiveDateTime").alias("at"),
            f.col("valueQuantity.value").alias("value"),
        )
        .where(f.col("code").isin("2601-3", "29463-7", "8302-2"))
    )
    mg = results.where(f.col("code") == "2601-3").groupBy("patient").agg(f.max("at").alias("mg_at"))
    newest = Window.partitionBy("patient", "code").orderBy(f.desc("at"))
    others = results.where(f.col("code") != "2601-3").join(mg, "patient").where(f.col("at") <= f.col("mg_at"))
    selected = (
        others.withColumn("rank", f.row_number().over(newest))
        .where(f.col("rank") == 1)
        .agg(f.sum("value"), f.count("*"))
    )
    rows = selected.collect()
    spark.stop()
    return int(rows[0][1])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
