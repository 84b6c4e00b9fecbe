"""From the source to the cohort: who is in, with which label, and who was left out and why."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from screener.analysis.cohort.women import Woman, occasion_of, woman
from screener.assessment.reconcile import Rules
from screener.base.batches import batches
from screener.base.progress import Progress
from screener.clinical.judge import Verdict, day_of
from screener.clinical.labels import Evidence, LabelReader, LabelRule, TScore, Unusable, label, latest
from screener.clinical.records import Outcome
from screener.run.deciding import judge, read
from screener.run.opening import Opened
from screener.stores.patient_order import in_order
from screener.stores.protocols import FullSource, Scope

Reason = tuple[str, str]  # outcome, reason


class Design(msgspec.Struct, frozen=True):
    """What decides who is in the cohort, and with which label.

    `as_of` "occasion" judges each woman by what had begun by her result, "run" by all that is known today.
    """

    rules: Rules
    rule: LabelRule = LabelRule()
    as_of: Literal["occasion", "run"] = "occasion"


class Pulled(msgspec.Struct):
    """The women of the cohort, labelled or not, and the counts: every patient seen is a woman here or left out for a reason."""

    seen: int = 0
    women: list[Woman] = []
    left_out: Counter[Reason] = msgspec.field(default_factory=Counter)
    unlabelled: Counter[str] = msgspec.field(default_factory=Counter)  # why a woman has no label
    unusable: Counter[Reason] = msgspec.field(default_factory=Counter)  # results: resource type, reason

    @property
    def labelled(self) -> list[Woman]:
        """The women with a label."""
        return [row for row in self.women if row.osteoporosis is not None]

    @property
    def without_label(self) -> list[Woman]:
        """The women without one."""
        return [row for row in self.women if row.osteoporosis is None]


def pull(opened: Opened, scope: Scope, reader: LabelReader, design: Design, progress: Progress) -> Pulled:
    """Read, judge and label everyone in the scope. Raises ScreenerError where the source cannot be read."""
    source = opened.source
    patients = in_order(source.population(scope))
    pulled = Pulled(seen=len(patients))
    progress(0, len(patients))
    done = 0
    for part in batches(patients, opened.batch_patients):
        _add(pulled, source, reader, design, part)
        done += len(part)
        progress(done, len(patients))
    return pulled


def _add(pulled: Pulled, source: FullSource, reader: LabelReader, design: Design, patients: Sequence[str]) -> None:
    def failed(_: str) -> None:
        pulled.left_out[Outcome.FAILED.value, "internal_error"] += 1

    included = []
    records = read(source, patients)
    for verdict in judge(records, design.rules, failed, as_of_occasion=design.as_of == "occasion"):
        if verdict.occasions:
            included.append(verdict)
        else:
            pulled.left_out[verdict.outcome.value, verdict.reason] += 1
    by_patient = _by_patient(source.read_more(reader, [verdict.patient for verdict in included]))
    for verdict in included:
        _include(pulled, verdict, by_patient.get(verdict.patient, ()), design)


def _by_patient(evidence: Iterable[Evidence]) -> dict[str, list[Evidence]]:
    found: dict[str, list[Evidence]] = {}
    for row in evidence:
        found.setdefault(row.patient, []).append(row)
    return found


def _include(pulled: Pulled, verdict: Verdict, evidence: Sequence[Evidence], design: Design) -> None:
    known = [row for row in latest(evidence) if not _begins_after(row, day_of(design.rules.now_us))]
    found = label(known, occasion_of(verdict).mg.moment.day, design.rule)
    pulled.women.append(woman(verdict, found, design.rules.policy, design.rules.now_us))
    if found.osteoporosis is None:
        pulled.unlabelled[found.reason] += 1
    pulled.unusable.update((row.resource, row.reason) for row in known if isinstance(row, Unusable))


def _begins_after(row: Evidence, day: int) -> bool:
    """As with the results: what is dated after the run's instant is not known at it."""
    if isinstance(row, Unusable):
        return False
    return (row.day if isinstance(row, TScore) else row.start_day) > day
