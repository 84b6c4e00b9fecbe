"""Tables as CSV or Parquet, in memory: the caller writes them, whole and with the permissions that they need."""

import csv
import io
from collections.abc import Sequence
from typing import Any, Literal

from screener.base.errors import of_extra

Kind = Literal["integer", "number", "text", "truth"]
SUFFIXES = (".csv", ".parquet")


def table_bytes(columns: Sequence[tuple[str, Kind]], rows: Sequence[Sequence[Any]], suffix: str) -> bytes:
    """The table in the format of a suffix. ConfigurationError where Parquet lacks its package."""
    return _parquet(columns, rows) if suffix == ".parquet" else csv_bytes([name for name, _ in columns], rows)


def csv_bytes(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    """CSV with a header; None is an empty cell."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue().encode()


def _parquet(columns: Sequence[tuple[str, Kind]], rows: Sequence[Sequence[Any]]) -> bytes:
    with of_extra("report", "write .csv"):
        import pyarrow as pa  # noqa: PLC0415
        from pyarrow import parquet  # noqa: PLC0415
    kinds = {"integer": pa.int64(), "number": pa.float64(), "text": pa.string(), "truth": pa.bool_()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns])
    by_column = [[row[place] for row in rows] for place in range(len(columns))]
    arrays = [pa.array(values, field.type) for values, field in zip(by_column, schema, strict=True)]
    stream = io.BytesIO()
    parquet.write_table(pa.Table.from_arrays(arrays, schema=schema), stream)
    return stream.getvalue()
