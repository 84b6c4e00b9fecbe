"""What must not be assessed (again): a patient who objected, and what a site took back until it lets it stand again."""

import msgspec

from screener.assessment.identity import assessment_uuid
from screener.clinical.judge import Verdict, without_methods
from screener.clinical.records import Method

OPTED_OUT, SUPPRESSED = "opted_out", "suppressed"


class Suppressions(msgspec.Struct, frozen=True):
    """`opted_out` and `patients` are patients' ids at the source, `identities` those of assessments (UUIDs), `model` whether the
    run's model is suppressed."""

    opted_out: frozenset[str] = frozenset()
    patients: frozenset[str] = frozenset()
    identities: frozenset[str] = frozenset()
    model: bool = False

    def of_patients(self) -> "Suppressions":
        """Without what is about assessments that stand (of a run, or by a model): who was assessed is another question than who may be
        looked at."""
        return Suppressions(opted_out=self.opted_out, patients=self.patients)

    @property
    def any(self) -> bool:
        """Whether there is anything to obey."""
        return bool(self.opted_out or self.patients or self.identities or self.model)


def apply_suppressions(verdict: Verdict, suppressions: Suppressions, source_system: str) -> Verdict:
    """The verdict without the methods that must not be assessed; "opted_out" or "suppressed" is then their reason."""
    patient = verdict.patient
    if patient in suppressions.opted_out:
        return without_methods(verdict, frozenset(Method), OPTED_OUT)
    if patient in suppressions.patients:
        return without_methods(verdict, frozenset(verdict.occasions), SUPPRESSED)
    methods = {m for m in verdict.occasions if assessment_uuid(source_system, patient, m) in suppressions.identities}
    if suppressions.model and Method.NOMOGRAM in verdict.occasions:
        methods.add(Method.NOMOGRAM)
    return without_methods(verdict, frozenset(methods), SUPPRESSED) if methods else verdict
