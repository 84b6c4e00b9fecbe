"""The one way from records to verdicts and decisions, whoever asks: a run, a page, a cohort, a visit.

Nothing else calls the clinical judge, so that every command obeys the same rules and the same objections.
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, TypeVar

import msgspec
import structlog

from screener.assessment.reconcile import Action, Change, Rules, basis_to_read, of_another_source, reconcile
from screener.assessment.resource import Json
from screener.assessment.suppression import apply_suppressions
from screener.base.errors import ScreenerError
from screener.clinical.as_of_occasion import judge_as_of_occasion
from screener.clinical.judge import Verdict
from screener.clinical.judge import judge as judge_records
from screener.clinical.records import PatientRecord
from screener.stores.protocols import Destination, Source

log = structlog.get_logger()

T = TypeVar("T")
Failed = Callable[[str], None]  # gets the id of each patient whose records break a rule


class Stores(NamedTuple):
    """Where patients are read, and where their assessments are."""

    source: Source
    destination: Destination


class Decision(msgspec.Struct, frozen=True):
    """What the rules say of one patient, what stands of her, and what ought to happen."""

    verdict: Verdict
    standing: Sequence[Json]
    changes: Sequence[Change]
    others: frozenset[str] = frozenset()  # identities of another source that stand where one is to be created


def read(source: Source, patients: Sequence[str], standing: Collection[str] = ()) -> list[PatientRecord]:
    """The patients' records, to be judged. ScreenerError where a required type was not read whole: what was not read may be the reason not
    to assess her. `standing`: see Source.records."""
    records = source.records(patients, standing)
    check_required(source)
    return records


def check_required(source: Source) -> None:
    """ScreenerError where a required type was not read whole."""
    lacking = source.reading.required(source.needs)
    if lacking:
        raise source.lacks(lacking)


def judge(
    records: Sequence[PatientRecord], rules: Rules, failed: Failed, *, as_of_occasion: bool = False
) -> list[Verdict]:
    """A verdict for each record, without what a patient or the site does not want assessed.

    All records are judged at once; where that fails, one by one, and `failed` gets the ids of those that break a rule. `as_of_occasion`:
    by what was known when the results came in, for cohorts.
    """

    def by_rules(part: Sequence[PatientRecord]) -> list[Verdict]:
        if as_of_occasion:
            return [judge_as_of_occasion(one, rules.policy, rules.writer.artefact, rules.now_us) for one in part]
        return judge_records(part, rules.policy, rules.writer.artefact, rules.now_us)

    verdicts = _one_by_one_where_it_fails(records, by_rules, failed)
    if not rules.suppressions.any:
        return verdicts
    return [apply_suppressions(verdict, rules.suppressions, rules.writer.source_system) for verdict in verdicts]


def decide(
    patients: Sequence[str], stores: Stores, rules: Rules, failed: Failed, *, whole: Collection[str] = ()
) -> list[Decision]:
    """Read, judge and reconcile these patients; nothing is written.

    A record that breaks a rule costs one patient and no other: `failed` gets her id, and she has no decision. Patients in `whole`, like those
    with an assessment, are read whole even where the rules say early that there is nothing to assess.
    """
    standing = stores.destination.standing(patients)
    records = read(stores.source, patients, standing.keys() | set(whole))
    verdicts = judge(records, rules, failed)
    wanted: set[str] = set()
    for verdict in verdicts:
        held = standing.get(verdict.patient, ())
        wanted |= _guarded(failed, verdict.patient, basis_to_read, verdict, held, rules.writer) or set()
    basis = stores.source.basis(wanted) if wanted else {}
    decisions = []
    for verdict in verdicts:
        held = standing.get(verdict.patient, ())
        changes = _guarded(failed, verdict.patient, reconcile, verdict, held, basis, rules)
        if changes is not None:
            creates = held and any(change.action is Action.CREATE for change in changes)
            others = (
                _guarded(failed, verdict.patient, of_another_source, verdict.patient, held, rules.writer)
                if creates
                else ()
            )
            decisions.append(Decision(verdict, held, changes, frozenset(others or ())))
    return decisions


def cannot_judge(_: str) -> None:
    """For `failed` where one patient is asked about: ScreenerError."""
    raise ScreenerError(
        "The rules cannot judge this patient: one of her resources is something that nobody thought of",
        "A run counts her as failed. Please report it, with the kind of error from the log and no patient data",
    )


def _one_by_one_where_it_fails(
    records: Sequence[PatientRecord], rule: Callable[[Sequence[PatientRecord]], list[Verdict]], failed: Failed
) -> list[Verdict]:
    try:
        return rule(records)
    except Exception as error:  # noqa: BLE001 - whatever it was, it must cost one patient at most
        log.warning("batch_judged_one_by_one", error=type(error).__name__)
    alone = (_guarded(failed, record.patient, rule, [record]) for record in records)
    return [verdict for verdicts in alone for verdict in verdicts or ()]


def _guarded(failed: Failed, patient: str, rule: Callable[..., T], *arguments: object) -> T | None:
    """The rule's answer; None where a record breaks it: that patient has failed, and no other."""
    try:
        return rule(*arguments)
    except Exception as error:  # noqa: BLE001 - an odd resource that nobody thought of
        log.error("patient_failed", error=type(error).__name__)
        failed(patient)
        return None
