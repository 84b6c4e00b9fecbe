"""Polars: the bare selection (newest Mg per patient, with the newest weight and height before it), for orientation."""

import sys
from pathlib import Path

import polars as pl


def main(folder: Path) -> int:
    """How many results are selected."""
    schema = {
        "code": pl.Struct({"coding": pl.List(pl.Struct({"code": pl.String}))}),
        "subject": pl.Struct({"reference": pl.String}),
        "effectiveDateTime": pl.String,
        "valueQuantity": pl.Struct({"value": pl.Float64}),
    }
    results = (
        pl.scan_ndjson(sorted(folder.glob("Observation*.ndjson")), schema=schema)
        .select(
            patient=pl.col("subject").struct.field("reference"),
            code=pl.col("code").struct.field("coding").list.first().struct.field("code"),
            at=pl.col("effectiveDateTime").str.to_datetime("%+"),
            value=pl.col("valueQuantity").struct.field("value"),
        )
        .filter(pl.col("code").is_in(["2601-3", "29463-7", "8302-2"]))
        .collect(engine="streaming")
    )
    mg = results.filter(pl.col("code") == "2601-3").group_by("patient").agg(pl.col("at").max().alias("mg_at"))
    others = results.filter(pl.col("code") != "2601-3").join(mg, on="patient").filter(pl.col("at") <= pl.col("mg_at"))
    return others.sort("at").group_by("patient", "code").agg(pl.col("value").last()).height


if __name__ == "__main__":
    main(Path(sys.argv[1]))
