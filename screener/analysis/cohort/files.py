"""The cohort's three files: the rows, what they mean and who was left out, and the comparison. All for their owner only."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from model.atomic import write_whole
from screener import __version__
from screener.analysis.cohort.comparison import HEADER
from screener.analysis.cohort.pull import Design, Pulled
from screener.analysis.cohort.women import COLUMNS, Woman
from screener.base.errors import AccountError, InputError, missing_package_error
from screener.base.table_files import csv_bytes, table_bytes
from screener.clinical import labels

FORMAT = 1

_DEFINITIONS = {
    labels.LabelKind.T_SCORE: "1 where the lowest T-score of the nearest DXA within the gap is -2.5 or less, else 0; "
    "empty without such a DXA",
    labels.LabelKind.DIAGNOSIS: "1 where a diagnosis of osteoporosis held within the gap, else 0: "
    "right only as far as the site records its diagnoses",
    labels.LabelKind.EITHER: "1 where a diagnosis of osteoporosis held within the gap, else by the T-score "
    "(1 at -2.5 or less); empty without either",
}
_JUDGED = {
    "occasion": "by the exclusions that had begun by the day of the magnesium result",
    "run": "by all that is known on the day of the pull: women treated since are left out",
}


def check_writable(out: Path) -> None:
    """InputError where a cohort could not be written to `out`. Called before the source is read."""
    if out.suffix not in (".csv", ".parquet"):
        raise InputError(f"A cohort is written as .csv or .parquet, not as {out.name}", "Change the suffix after --out")
    if not out.resolve().parent.is_dir():
        raise InputError(f"The folder for {out.name} does not exist", "Make it, or give --out another path")
    if out.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise missing_package_error("pyarrow", "report", "let --out end in .csv")


def in_order(women: Sequence[Woman]) -> list[tuple[Any, ...]]:
    """The rows sorted by their values, so that their order says nothing of whose they are or when they were read."""
    rows = [msgspec.structs.astuple(row) for row in women]
    return sorted(rows, key=lambda row: tuple((value is not None, value if value is not None else 0) for value in row))


def cohort_bytes(women: Sequence[Woman], suffix: str) -> bytes:
    """The rows as the file that the suffix names; the same women give the same bytes."""
    rows = in_order(women)
    return table_bytes([(column.name, column.kind) for column in COLUMNS], rows, suffix)


def dictionary(
    pulled: Pulled,
    written: Sequence[Woman],
    design: Design,
    tables: labels.LabelTables,
    source: Mapping[str, Any],
    least_count: int,
) -> dict[str, Any]:
    """What the columns mean, how the women were chosen and labelled, and the counts. `source`: what it could not give.

    Raises AccountError where the counts do not add up.
    """
    return {
        "format": FORMAT,
        "software": {"name": "osteoporosis-screener", "version": __version__},
        "confidentiality": "No identifiers and no dates, but one row a woman: keep it as patient data",
        "columns": [column._asdict() for column in COLUMNS],
        "label": {
            "kind": design.rule.kind.value,
            "definition": _DEFINITIONS[design.rule.kind],
            "max_gap_days": design.rule.max_gap_days,
            "t_score_codes": [f"{row.system}|{row.code}" for row in tables.t_scores],
            "diagnosis_codes": [f"{row.system}|{row.code} ({row.match})" for row in tables.diagnoses],
        },
        "selection": {
            "policy": msgspec.to_builtins(design.rules.policy),
            "judged": _JUDGED[design.as_of],
            "source": dict(source),
        },
        "least_count": least_count,
        "counts": _counts(pulled, written, least_count),
    }


def _counts(pulled: Pulled, written: Sequence[Woman], least_count: int) -> dict[str, Any]:
    left_out = Counter(pulled.left_out)
    if len(written) < len(pulled.women):
        left_out.update({("unlabelled", reason): count for reason, count in pulled.unlabelled.items()})
    if len(written) + left_out.total() != pulled.seen:
        raise AccountError(
            f"{pulled.seen} patients were seen, but {len(written)} are in the cohort and {left_out.total()} left out",
            "Nothing was written; please report this",
        )
    labelled = Counter(row.osteoporosis for row in written)
    return {
        "patients_seen": pulled.seen,
        "women_in_cohort": len(written),
        "osteoporosis": labelled[1],
        "no_osteoporosis": labelled[0],
        "without_label": labelled[None],
        "left_out": _pooled(left_out, least_count),
        "label_resources_refused": _pooled(pulled.unusable, least_count),
    }


def _pooled(counts: Counter[tuple[str, str]], least_count: int) -> dict[str, dict[str, int]]:
    """By outcome and reason. Rare reasons are pooled within their outcome, so that the sum stays right; so are as many of the next larger
    ones as it takes to make the pool large enough, or it would tell what it hides."""
    found: dict[str, dict[str, int]] = {}
    for outcome in dict.fromkeys(outcome for outcome, _ in sorted(counts)):
        own = sorted(
            ((reason, count) for (of, reason), count in counts.items() if of == outcome), key=lambda row: row[1]
        )
        pooled = 0
        while own and (own[0][1] < least_count or 0 < pooled < least_count):
            pooled += own.pop(0)[1]
        found[outcome] = dict(sorted(own)) | ({f"reasons_below_{least_count}": pooled} if pooled else {})
    return found


def write(
    out: Path, women: Sequence[Woman], dictionary_: Mapping[str, Any], compared: Sequence[Sequence[str]]
) -> list[Path]:
    """Write the cohort, its dictionary (`OUT.json`, with the cohort's SHA-256) and the comparison (`OUT.comparison.csv`)."""
    cohort = cohort_bytes(women, out.suffix)
    described = {**dictionary_, "sha256": hashlib.sha256(cohort).hexdigest()}
    contents = {
        out: cohort,
        out.with_name(f"{out.name}.json"): msgspec.json.format(msgspec.json.encode(described), indent=2) + b"\n",
        out.with_name(f"{out.name}.comparison.csv"): csv_bytes(HEADER, compared),
    }
    for path, content in contents.items():
        _replace(path, content)
    return list(contents)


def _replace(path: Path, content: bytes) -> None:
    """For its owner only: without identifiers it is patient data all the same."""
    try:
        write_whole(path, [content], private=True)
    except OSError as error:
        raise InputError(f"Cannot write {path.name}: {error.strerror}", "Check --out and its permissions") from error
