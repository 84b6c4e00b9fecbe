"""A cohort from its settings: read, judge and label as the job would, then write the three files."""

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from screener.clinical.dates import epoch_us
from screener.clinical.labels import LabelReader, LabelRule, LabelTables
from screener.cohort.comparison import comparison
from screener.cohort.files import check_writable, dictionary, write
from screener.cohort.pull import Design, Progress, Pulled, pull
from screener.config.settings import Settings
from screener.config.tables import label_tables
from screener.errors import InputError
from screener.plural import counted
from screener.run.rules import load_model_and_tables
from screener.run.setup import open_to_read
from screener.stores.protocols import FullSource, everyone


class Request(msgspec.Struct, frozen=True):
    """What one call asks for, beside the settings."""

    out: Path
    rule: LabelRule = LabelRule()
    as_of: Literal["occasion", "run"] = "occasion"
    with_unlabelled: bool = False
    least_count: int = 5
    from_folder: Path | None = None
    now: datetime | None = None


class Made(msgspec.Struct, frozen=True):
    """What a call leaves: the counts, the comparison and the files."""

    counts: dict[str, Any]
    compared: Sequence[Sequence[str]]
    files: Sequence[Path]


def make(settings: Settings, request: Request, progress: Progress) -> Made:
    """Pull the cohort and write it. Nothing is written to the source, and nothing at all where this raises ScreenerError."""
    check_writable(request.out)
    with ExitStack() as stack:
        loaded = load_model_and_tables(settings, for_cohort=True)
        source, as_of, *_ = open_to_read(settings, request.from_folder, loaded.mapper, stack)
        now = request.now or as_of
        design = Design(
            policy=settings.policy.policy(),
            artefact=loaded.artefact,
            now_us=epoch_us(now),
            rule=request.rule,
            as_of=request.as_of,
        )
        scope = everyone(now.date(), design.policy.lookback_days)
        labels = label_tables(settings.cohort)
        reader = LabelReader(loaded.mapper, request.rule.kind, labels)
        pulled = pull(source, scope, reader, design, settings.server.batch_patients, progress)
    return _written(request, design, labels, pulled, source)


def _written(request: Request, design: Design, labels: LabelTables, pulled: Pulled, source: FullSource) -> Made:
    women = pulled.women if request.with_unlabelled else pulled.labelled
    reading = source.reading
    told = {"exclusions_not_checked": sorted(reading.unchecked), "unreadable_resources": reading.bad_lines}
    described = dictionary(pulled, women, design, labels, told, request.least_count)
    if not women:
        left_out = described["counts"]["left_out"]
        said = [f"{reason} {count}" for reasons in left_out.values() for reason, count in reasons.items()]
        raise InputError(
            f"None of {counted(pulled.seen, 'patient')} belongs in the cohort; left out: {', '.join(said)}",
            "Try --label either, a wider --max-gap-days or a longer policy.lookback_days",
        )
    compared = comparison(pulled.labelled, pulled.without_label, request.least_count)
    files = write(request.out, women, described, compared)
    return Made(described["counts"], compared, files)
