"""A cohort: read, judge and label as the job would, then write the three files."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from screener.analysis.cohort.comparison import comparison
from screener.analysis.cohort.files import dictionary, write
from screener.analysis.cohort.pull import Design, Pulled, pull
from screener.base.errors import InputError
from screener.base.plural import counted
from screener.base.progress import Progress
from screener.clinical.labels import LabelReader, LabelRule, LabelTables
from screener.run.opening import Opened
from screener.run.site import Site
from screener.stores.protocols import FullSource, everyone


class CohortRequest(msgspec.Struct, frozen=True):
    """What one call asks for."""

    out: Path
    rule: LabelRule = LabelRule()
    as_of: Literal["occasion", "run"] = "occasion"
    with_unlabelled: bool = False
    least_count: int = 5
    now: datetime | None = None


class Made(msgspec.Struct, frozen=True):
    """What a call leaves: the counts, the comparison and the files."""

    counts: dict[str, Any]
    compared: Sequence[Sequence[str]]
    files: Sequence[Path]


def make(site: Site, opened: Opened, labels: LabelTables, request: CohortRequest, progress: Progress) -> Made:
    """Pull the cohort and write it. Nothing is written to the source, and nothing at all where this raises ScreenerError."""
    now = request.now or opened.as_of
    design = Design(site.rules_of_cohort(now), request.rule, request.as_of)
    scope = everyone(now.date(), site.policy.lookback_days)
    reader = LabelReader(site.mapper, request.rule.kind, labels)
    pulled = pull(opened, scope, reader, design, progress)
    return _written(request, design, labels, pulled, opened.source)


def _written(request: CohortRequest, design: Design, labels: LabelTables, pulled: Pulled, source: FullSource) -> Made:
    women = pulled.women if request.with_unlabelled else pulled.labelled
    reading = source.reading
    told = {"exclusions_not_checked": sorted(reading.not_whole), "unreadable_resources": reading.bad_lines}
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
