"""The scikit-learn estimators: the digits of `assess`, and the conventions of scikit-learn by its own checks."""

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from model import PREDICTORS, ArtefactError, Assessment, ModelError, PredictorError, assess, flag, load_artefact
from model.estimator import NomogramClassifier, NomogramPoints

ARTEFACT = load_artefact()


@pytest.fixture(scope="module")
def women() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    drawn = {p.name: rng.uniform(*p.development_range, 400) for p in ARTEFACT.predictors}
    drawn["mg_mmol_l"] = np.round(drawn["mg_mmol_l"], 2)
    return pd.DataFrame(drawn)


def arrays(women: pd.DataFrame) -> Assessment:
    side = np.array([flag(Decimal(str(value))) for value in women["mg_mmol_l"]])
    return assess(ARTEFACT, {name: women[name].to_numpy() for name in PREDICTORS}, side)


def test_probabilities_and_linear_predictor_are_those_of_the_nomogram(women: pd.DataFrame) -> None:
    fitted, expected = NomogramClassifier().fit(women), arrays(women)
    assert np.array_equal(fitted.predict_proba(women)[:, 1], expected.risk)
    assert np.array_equal(fitted.predict_proba(women).sum(axis=1), np.ones(len(women)))
    assert np.array_equal(fitted.decision_function(women), expected.linear_predictor)


def test_columns_are_taken_by_name_whatever_their_order_and_others_are_left_alone(women: pd.DataFrame) -> None:
    shuffled = women[["ctx_ng_ml", *sorted(set(PREDICTORS) - {"ctx_ng_ml"}, reverse=True)]].assign(ward="W3", t=np.nan)
    found = NomogramClassifier().fit(shuffled).predict_proba(shuffled)
    assert np.array_equal(found, NomogramClassifier().fit(women).predict_proba(women))
    assert np.array_equal(found, NomogramClassifier().fit(women.to_numpy()).predict_proba(women.to_numpy()))


def test_arrow_tables_are_taken_as_those_of_pandas(women: pd.DataFrame) -> None:
    found = NomogramClassifier().fit(pa.Table.from_pandas(women)).predict_proba(pa.Table.from_pandas(women))
    assert np.array_equal(found[:, 1], arrays(women).risk)


def test_magnesium_at_the_cut_off_counts_as_below_it_and_the_next_digit_does_not(women: pd.DataFrame) -> None:
    first = {name: women[name].iloc[0] for name in PREDICTORS}
    same = pd.DataFrame([{**first, "mg_mmol_l": mg} for mg in (0.844, 0.845, 0.846)])
    risk = NomogramClassifier().fit(same).predict_proba(same)[:, 1]
    assert risk[0] == risk[1] > risk[2]


def test_the_threshold_belongs_to_the_positive_side(women: pd.DataFrame) -> None:
    risk = arrays(women).risk
    at = NomogramClassifier(threshold=float(risk[7])).fit(women)
    assert at.predict(women)[7] == 1
    assert np.array_equal(at.predict(women), (risk >= risk[7]).astype(int))
    beyond = NomogramClassifier(threshold=float(np.nextafter(risk[7], 1))).fit(women)
    assert beyond.predict(women)[7] == 0


def test_points_add_up_and_are_named(women: pd.DataFrame) -> None:
    made = NomogramPoints().set_output(transform="pandas").fit(women).transform(women)
    assert list(made.columns) == [*(f"points_{name}" for name in PREDICTORS), "total_points"]
    assert np.array_equal(made["total_points"], arrays(women).total_points)
    assert np.array_equal(made["points_age_years"], arrays(women).points["age_years"])


def test_a_reduced_nomogram_takes_its_own_columns(women: pd.DataFrame) -> None:
    nomogram = ARTEFACT.reduced[0]
    names = [predictor.name for predictor in nomogram.predictors]
    fitted = NomogramClassifier(reduced=nomogram.name).fit(women[names])
    columns = {name: women[name].to_numpy() for name in names}
    expected = assess(nomogram, columns, women["mg_mmol_l"].to_numpy() <= 0.845)
    assert np.array_equal(fitted.predict_proba(women[names])[:, 1], expected.risk)


def test_pipelines_cross_validation_and_calibration_take_it_as_any_classifier(women: pd.DataFrame) -> None:
    y = (np.random.default_rng(1).random(len(women)) < arrays(women).risk).astype(int)
    area = cross_val_score(NomogramClassifier(), women, y, cv=4, scoring="roc_auc")
    assert area.mean() > 0.6  # outcomes drawn from the model's own risks
    weights = make_column_transformer((NomogramPoints(), list(PREDICTORS)))
    assert make_pipeline(weights, LogisticRegression(max_iter=1000)).fit(women, y).score(women, y) > 0.6
    fitted = NomogramClassifier().fit(women, y)
    calibrated = CalibratedClassifierCV(FrozenEstimator(fitted), method="sigmoid").fit(women, 1 - y)
    assert calibrated.predict_proba(women)[:, 1].mean() == pytest.approx(1 - y.mean(), abs=0.01)


def test_a_clone_is_unfitted_and_has_the_same_parameters(women: pd.DataFrame) -> None:
    copy = clone(NomogramClassifier(artefact="shi2026-mg-continuous", threshold=0.3).fit(women))
    assert copy.get_params() == {"artefact": "shi2026-mg-continuous", "reduced": None, "threshold": 0.3}
    with pytest.raises(NotFittedError):
        copy.predict(women)


@pytest.mark.parametrize(
    ("estimator", "change", "error", "message"),
    [
        (NomogramClassifier(), {"drop": "p_mmol_l"}, PredictorError, "X lacks the columns p_mmol_l"),
        (NomogramClassifier(), {"ctx_ng_ml": 470.0}, PredictorError, "ctx_ng_ml, row 0: not a number from"),
        (NomogramPoints(), {"p_mmol_l": -1.0}, PredictorError, "p_mmol_l, row 0"),
        (NomogramClassifier(reduced="none"), {}, ModelError, "has no reduced nomogram none; it has age"),
        (NomogramClassifier(artefact="missing.json"), {}, ArtefactError, "cannot read the model missing.json"),
        (NomogramClassifier(threshold=50), {}, ModelError, "the threshold is 50, and not a risk"),
        (NomogramClassifier(), {"p_mmol_l": np.nan}, PredictorError, "p_mmol_l, row 0: not a number from"),
    ],
)
def test_what_cannot_be_used_is_refused(
    women: pd.DataFrame, estimator: Any, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    table = women.drop(columns=change["drop"]) if "drop" in change else women.assign(**change)
    with pytest.raises(error, match=message):
        estimator.fit(table)


def test_unnamed_columns_have_to_be_as_many_as_the_nomogram_takes(women: pd.DataFrame) -> None:
    with pytest.raises(ModelError, match="X has 5 columns without names, and the nomogram takes 6: age_years"):
        NomogramClassifier().fit(women.to_numpy()[:, :5])


def test_outcomes_are_of_two_classes_one_a_row(women: pd.DataFrame) -> None:
    with pytest.raises(ModelError, match="400 rows and y has 399"):
        NomogramClassifier().fit(women, np.ones(399, dtype=int))
    named = NomogramClassifier().fit(women, np.where(arrays(women).risk > 0.5, "yes", "no"))
    assert list(named.classes_) == ["no", "yes"]
    assert set(named.predict(women)) == {"no", "yes"}


# scikit-learn's own checks draw columns of any number, name and size. These two squeeze whatever comes into possible values, so that
# the checks judge all but that: parameters, tags, cloning, pickling, order and subsets of rows, errors.


class _AnyColumns:
    def _own(self, X: Any) -> Any:  # noqa: N803
        return X

    def _columns(self, table: Any) -> dict[str, Any]:
        if not np.isfinite(table).all():
            raise PredictorError("NaN or inf")  # the words that the checks look for
        found = {}
        for i, predictor in enumerate(self.nomogram_.predictors):  # type: ignore[attr-defined]
            low, high = predictor.possible
            share = 0.5 + np.arctan(table[:, i % table.shape[1]]) / np.pi
            found[predictor.name] = low + (high - low) * (0.005 + 0.99 * share)
        return found


class AnyColumnsClassifier(_AnyColumns, NomogramClassifier):
    """`NomogramClassifier` of whatever comes."""


class AnyColumnsPoints(_AnyColumns, NomogramPoints):
    """`NomogramPoints` of whatever comes."""


# Checks that cannot hold, each with its reason; they have to fail.
CANNOT_HOLD = {
    "check_classifiers_one_label": "a classifier that saw one class has to predict it, and this one does not learn from outcomes"
}


@pytest.mark.parametrize("estimator", [AnyColumnsClassifier(), AnyColumnsPoints()], ids=lambda one: type(one).__name__)
def test_scikit_learns_own_checks(estimator: Any) -> None:
    """All but the one on other array libraries, which scikit-learn itself skips unless the environment asks for it."""
    expected = CANNOT_HOLD if isinstance(estimator, NomogramClassifier) else {}
    results = check_estimator(estimator, expected_failed_checks=expected, on_fail=None, on_skip=None)
    by_status: dict[str, set[str]] = {}
    for result in results:
        by_status.setdefault(result["status"], set()).add(result["check_name"])
    failed = [(r["check_name"], repr(r["exception"])) for r in results if r["status"] == "failed"]
    assert failed == []
    assert by_status.get("xfail", set()) == expected.keys()
    assert by_status.get("skipped", set()) <= {"check_array_api_input"}
    assert len(results) > 40


@pytest.mark.parametrize("kind", ["array", "pandas"])
def test_narrow_floats_are_the_decimals_they_were_read_from(kind: str) -> None:
    values = [[70, 24.0, 0.845, 1.1, 0.5, 60.0]]
    wide: Any = np.array(values)
    narrow: Any = np.array(values, dtype=np.float32)
    if kind == "pandas":
        wide, narrow = (pd.DataFrame(table, columns=list(PREDICTORS)) for table in (wide, narrow))
    classifier = NomogramClassifier().fit(wide, [1])
    assert np.array_equal(classifier.predict_proba(narrow), classifier.predict_proba(wide))
