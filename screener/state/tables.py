"""The tables. Instants of runs are ISO 8601 text as the caller gave them; those of leases are seconds since 1970."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    String,
    Table,
)

SCHEMA_VERSION = 3

metadata = MetaData()
_serial = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only in an INTEGER column

schema = Table(
    "screener_schema",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
)

watermarks = Table(
    "screener_watermarks",
    metadata,
    Column("scope", String, primary_key=True),
    Column("instant", String, nullable=False),
    Column("moved_at", Double, nullable=False),
)

unfinished = Table(
    "screener_unfinished",
    metadata,
    Column("scope", String, primary_key=True),
    Column("started", String, nullable=False),
    Column("done_until", String, nullable=False),
    Column("moved_at", Double, nullable=False),
)

leases = Table(
    "screener_leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("token", String, nullable=False),
    Column("run_id", String, nullable=False),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("space", String, nullable=False),
    Column("process_started", BigInteger, nullable=False),
    Column("since", Double, nullable=False),
    Column("until", Double, nullable=False),
)

runs = Table(
    "screener_runs",
    metadata,
    Column("number", _serial, Identity(), primary_key=True),
    Column("run_id", String, nullable=False, unique=True),
    Column("mode", String, nullable=False),
    Column("started", String, nullable=False),
    Column("source", String, nullable=False),
    Column("destination", String, nullable=False),
    Column("config_hash", String, nullable=False),
    Column("artefact_hash", String, nullable=False),
    Column("code_map_hash", String, nullable=False),
    Column("policy_hash", String, nullable=False),
    Column("model_id", String, nullable=False),
    Column("software_version", String, nullable=False),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("space", String, nullable=False),
    Column("process_started", BigInteger, nullable=False),
    Column("ended", String),
    Column("exit_code", Integer),
    Column("summary", JSON(none_as_null=True)),
)

receipts = Table(
    "screener_receipts",
    metadata,
    Column("number", _serial, Identity(), primary_key=True),
    Column("run", ForeignKey(runs.c.number), nullable=False),
    Column("assessment_id", String, nullable=False),
    Column("action", String, nullable=False),
    Column("resource_id", String),
    Column("version", String),
    Column("status_code", Integer),
    Column("reason", String),
    Index("screener_receipts_by_run", "run", "number"),
)

retries = Table(
    "screener_retries",
    metadata,
    Column("scope", String, primary_key=True),
    Column("patient_id", String, primary_key=True),
    Column("reason", String, nullable=False),
    Column("count", Integer, nullable=False),
    Column("first_seen", String, nullable=False),
    Column("last_seen", String, nullable=False),
)

suppressions = Table(
    "screener_suppressions",
    metadata,
    Column("number", _serial, Identity(), primary_key=True),
    Column("destination", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    Column("since", String, nullable=False),
    Column("lifted", String),
)

# What a release that works with a version of the schema added to the one before it.
ADDED: dict[int, tuple[Table, ...]] = {3: (suppressions,)}
