"""How well an artefact does on a site's own women, and whether there are enough of them to say so.

The measures are those that TRIPOD+AI asks of a validation. Sample sizes by the criteria of Riley et al. 2021: a figure from too
few women is given, with the verdict that it says little.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.artefact import Artefact, Nomogram
from model.errors import ModelError
from model.local.cohort import LocalCohort, digest
from model.predictors import AGE
from model.stats.calibration import Estimate, hosmer_lemeshow, in_the_large, intercept_and_slope, observed_expected
from model.stats.decision import net_benefit
from model.stats.logistic import Array
from model.stats.performance import performance
from model.stats.roc import auc, delong
from model.stats.sample_size import ExternalValidation, external_validation, observed_linear_predictor

Json = dict[str, Any]

_LEAST_IN_A_CLASS = 10  # of a subgroup: below that its figures would be noise
# Below these DeLong's interval of C was found too narrow by simulation.
_FEW_EVENTS, _RARE, _FEW_WOMEN = 15, 0.10, 150
_AGES = ((50, 65), (65, 75), (75, 200))
THRESHOLDS = np.round(np.arange(0.05, 0.951, 0.01), 2)


class Judged(NamedTuple):
    """Women, or a subgroup of them, under one nomogram."""

    name: str
    women: int
    events: int
    c: Estimate
    observed_expected: Estimate
    calibration_in_the_large: Estimate
    calibration_intercept: Estimate
    calibration_slope: Estimate
    brier: float
    mean_risk: float


def validate(
    cohort: LocalCohort, artefact: Artefact, *, resamples: int = 0, seed: int = 1, developed_on: str = ""
) -> Json:
    """Everything that `screener model validate` reports, as plain values; risks as fractions.

    With `resamples` also a bootstrap interval of C, for cohorts whose asymptotic one is too narrow. `developed_on` is the digest of the
    women from whom the artefact was made: ModelError where they are these.
    """
    if developed_on and developed_on == digest(cohort):
        raise ModelError(
            f"{artefact.id} was made from these very women: what it does on them says nothing of others. Validate it on other women, "
            "or say --accept same-women for the apparent figures"
        )
    risk = cohort.assess(artefact).risk
    y = cohort.osteoporosis
    overall = judge("all women", y, risk)
    needed = needed_women(overall, risk)
    test = hosmer_lemeshow(y, risk, fitted=False)
    curve = net_benefit(y, risk, THRESHOLDS)
    return {
        "artefact": {"id": artefact.id, "version": artefact.version, "checksum": artefact.checksum},
        "women": cohort.size,
        "with_osteoporosis": cohort.events,
        "rows_left_out_by_empty_column": dict(cohort.left_out),
        "overall": plain(overall),
        "hosmer_lemeshow": {
            "statistic": test.statistic,
            "df": test.df,
            "p_value": test.p_value,
            "groups": [g._asdict() for g in test.groups],
        },
        "sample_size": {"needed": {**needed._asdict(), "all": needed.n}, "given": cohort.size},
        "verdict": verdict(overall, needed),
        "c_bootstrap": c_bootstrap(y, risk, resamples, seed)._asdict() if resamples else None,
        "subgroups": [plain(part) for part in subgroups(cohort, risk)],
        "reduced": [plain(_reduced(cohort, nomogram)) for nomogram in artefact.reduced],
        "decision_curve": {name: column.tolist() for name, column in curve._asdict().items()},
    }


def judge(name: str, y: Array, risk: Array) -> Judged:
    """All measures of one group, (n,) each. ModelError where a class is missing."""
    area = delong(risk, y, direction="<")
    intercept, slope = intercept_and_slope(y, risk)
    found = performance(y, risk)
    return Judged(
        name=name,
        women=found.n,
        events=found.events,
        c=Estimate(*area),
        observed_expected=observed_expected(y, risk),
        calibration_in_the_large=in_the_large(y, risk),
        calibration_intercept=intercept,
        calibration_slope=slope,
        brier=found.brier,
        mean_risk=float(risk.mean()),
    )


def c_bootstrap(y: Array, risk: Array, resamples: int, seed: int) -> Estimate:
    """C with a 95 % percentile interval over resampled women, (n,) each. Draws without both classes are repeated."""
    draw = np.random.default_rng(seed)
    n = len(y)
    found: list[float] = []
    while len(found) < resamples:
        counts = draw.multinomial(n, np.full(n, 1 / n)).astype(np.float64)
        if 0 < counts @ y < n:
            found.append(auc(risk, y, counts))
    low, high = np.quantile(found, [0.025, 0.975])
    return Estimate(auc(risk, y, np.ones(n)), float(np.std(found, ddof=1)), float(low), float(high))


def interval_of_c_too_narrow(overall: Judged) -> bool:
    """Whether DeLong's interval covers less than it says: simulated, 85 to 89 % instead of 95 in cohorts like these."""
    fewer = min(overall.events, overall.women - overall.events)
    return fewer < _FEW_EVENTS or (fewer / overall.women < _RARE and overall.women < _FEW_WOMEN)


def needed_women(overall: Judged, risk: Array) -> ExternalValidation:
    """Women needed for intervals as narrow as Riley's criteria ask, at the prevalence, C and risks met here."""
    c = min(max(overall.c.value, 0.501), 0.999)
    linear = np.log(risk / (1 - risk))
    return external_validation(overall.events / overall.women, c, observed_linear_predictor(linear))


def verdict(overall: Judged, needed: ExternalValidation) -> list[str]:
    """What may be concluded, in sentences."""
    names = {
        "observed_expected": "whether risks are too high or too low on average",
        "calibration_slope": "whether high and low risks are too extreme",
        "c_statistic": "how well it ranks women",
    }
    said = [
        f"Too few women to say {names[name]}: {overall.women}, and {count} are needed"
        for name, count in needed._asdict().items()
        if count > overall.women
    ]
    if interval_of_c_too_narrow(overall):
        said.append(
            f"The interval of C is too narrow with {overall.events} events among {overall.women} women (it covers 85 to 89 % "
            "instead of 95): take the bootstrap's, --bootstrap 2000"
        )
    return [*said, *_findings(overall, needed)] or ["Calibrated here as far as these women can tell"]


def _findings(overall: Judged, needed: ExternalValidation) -> Iterator[str]:
    """Only what an interval shows. Each sentence ends with what to do."""
    large, slope, c = overall.calibration_in_the_large, overall.calibration_slope, overall.c
    if large.low > 0 or large.high < 0:
        way = "low" if large.value > 0 else "high"
        yield f"Risks are too {way} here on average: recalibrate the intercept"
    if slope.high < 1 and needed.calibration_slope <= overall.women:
        yield "Risks are too extreme here: recalibrate intercept and slope"
    if slope.low > 1 and needed.calibration_slope <= overall.women:
        yield "Risks are not spread enough here: recalibrate intercept and slope"
    if c.low <= 0.5:
        yield "It is not shown to rank women better than chance here: do not use it"


def subgroups(cohort: LocalCohort, risk: Array) -> Iterator[Judged]:
    """By age, assay and period; those with fewer than ten women in a class are left out."""
    y = cohort.osteoporosis
    for name, members in _divided(cohort):
        events = int(y[members].sum())
        if min(events, int(members.sum()) - events) >= _LEAST_IN_A_CLASS and np.ptp(risk[members]) > 0:
            yield judge(name, y[members], risk[members])


def _divided(cohort: LocalCohort) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    age = cohort.columns[AGE]
    for low, high in _AGES:
        label = f"age {low} to {high - 1}" if high < 200 else f"age {low} and above"
        yield label, (age >= low) & (age < high)
    for column, values in cohort.groups.items():
        for value in sorted(set(values.tolist()) - {""}):
            yield f"{column} {value}", values == value


def _reduced(cohort: LocalCohort, nomogram: Nomogram) -> Judged:
    return judge(nomogram.name, cohort.osteoporosis, cohort.assess(nomogram).risk)


def plain(judged: Judged) -> Json:
    """As JSON."""
    return {name: value._asdict() if isinstance(value, Estimate) else value for name, value in judged._asdict().items()}
