"""The nomogram as scikit-learn estimators: a classifier that needs no fitting, and its points as features.

Not imported by `model`: scikit-learn takes a second to load.
"""

from pathlib import Path
from typing import Any, Self

import narwhals as nw
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _num_samples, assert_all_finite, check_is_fitted, column_or_1d, validate_data

from model.artefact import Nomogram, load_artefact
from model.errors import ModelError, PredictorError
from model.nomogram import Assessment, assess
from model.predictors import MG, as_read, flags

TOTAL = "total_points"


class _OfNomogram(BaseEstimator):  # type: ignore[misc] # scikit-learn publishes no types
    """What classifier and points share: which nomogram, and its columns. `fit` learns nothing and looks at no outcome."""

    def __init__(self, artefact: str | Path | None = None, reduced: str | None = None) -> None:
        """`artefact`: the id of a shipped one or a file, None for the published model; `reduced`: the name of one of its
        reduced nomograms, None for all six predictors.
        """
        self.artefact = artefact
        self.reduced = reduced

    def fit(self, X: Any, y: ArrayLike | None = None) -> Self:  # noqa: ARG002, N803 - scikit-learn's names
        """Load the artefact and check the columns: a table's by name, in any order and among others of any kind; an array's, which
        have no names, in the nomogram's order and no others.

        ArtefactError for an artefact that cannot be used, ModelError for columns that do not fit, PredictorError for values that
        cannot be measurements.
        """
        self.nomogram_ = _nomogram(self.artefact, self.reduced)
        self._assess(X, reset=True)
        return self

    def _assessed(self, X: Any) -> Assessment:  # noqa: N803
        check_is_fitted(self)
        return self._assess(X, reset=False)

    def _assess(self, X: Any, *, reset: bool) -> Assessment:  # noqa: N803
        table = validate_data(self, _widened(self._own(X)), reset=reset, dtype=np.float64, ensure_all_finite=False)
        columns = self._columns(table)
        side = flags(columns[MG]) if MG in columns else np.zeros(len(table), dtype=np.bool_)
        return assess(self.nomogram_, columns, side)

    def _own(self, X: Any) -> Any:  # noqa: N803
        """Of a table the nomogram's own columns, in its order; anything else as it is."""
        frame = nw.from_native(X, eager_only=True, pass_through=True)
        if not isinstance(frame, nw.DataFrame):
            return X
        wanted = [predictor.name for predictor in self.nomogram_.predictors]
        missing = [name for name in wanted if name not in frame.columns]
        if missing:
            raise PredictorError(f"X lacks the columns {', '.join(missing)}; give them in the units of their names")
        return frame.select(wanted).to_native()

    def _columns(self, table: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        wanted = [predictor.name for predictor in self.nomogram_.predictors]
        if table.shape[1] != len(wanted):
            raise ModelError(
                f"X has {table.shape[1]} columns without names, and the nomogram takes {len(wanted)}: {', '.join(wanted)}"
            )
        return {name: np.ascontiguousarray(table[:, place]) for place, name in enumerate(wanted)}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        tags.target_tags.required = False
        return tags


class NomogramClassifier(ClassifierMixin, _OfNomogram):  # type: ignore[misc]
    """The probability of osteoporosis as a scikit-learn classifier; classes are 0 and 1 unless the
    outcomes that `fit` sees are two others.

    Magnesium comes as a float; its side of the cut-off is decided by `model.flags`. Cloning, pipelines, cross-validation and
    calibration (`CalibratedClassifierCV`) work as with any classifier; fitting it changes no coefficient.
    """

    def __init__(self, artefact: str | Path | None = None, reduced: str | None = None, threshold: float = 0.5) -> None:
        """`threshold`: `predict` says 1 at or above this risk, a fraction."""
        super().__init__(artefact, reduced)
        self.threshold = threshold

    def fit(self, X: Any, y: ArrayLike | None = None) -> Self:  # noqa: N803
        """As for any of these estimators. Of two outcomes that are not 0 and 1, the greater one means osteoporosis."""
        if not 0 < self.threshold < 1:
            raise ModelError(f"the threshold is {self.threshold!r}, and not a risk between 0 and 1")
        super().fit(X, y)
        self.classes_ = np.array([0, 1]) if y is None else _two_classes(y, _num_samples(X))
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """The linear predictor, (n,)."""
        return self._assessed(X).linear_predictor

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """(n, 2): the probability without and with osteoporosis."""
        risk = self._assessed(X).risk
        return np.column_stack([1 - risk, risk])

    def predict(self, X: Any) -> NDArray[np.int_]:  # noqa: N803
        """(n,): 1 where the risk is at or above the threshold."""
        positive = self._assessed(X).risk >= self.threshold
        return self.classes_[positive.astype(int)]  # type: ignore[no-any-return]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


class NomogramPoints(TransformerMixin, _OfNomogram):  # type: ignore[misc]
    """The nomogram's points as features: one column a predictor, and their sum."""

    def transform(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """(n, k + 1): points by predictor in the nomogram's order, then the total."""
        found = self._assessed(X)
        return np.column_stack([*found.points.values(), found.total_points])

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:  # noqa: ARG002
        """`points_<predictor>` and `total_points`."""
        check_is_fitted(self)
        names = [f"points_{predictor.name}" for predictor in self.nomogram_.predictors]
        return np.array([*names, TOTAL], dtype=object)


def _widened(given: Any) -> Any:
    """Arrays and pandas tables of narrow floats as the decimals that they were read from; anything else as it is."""
    if isinstance(given, np.ndarray):
        return as_read(given) if given.dtype.kind == "f" else given
    if hasattr(given, "dtypes") and hasattr(given, "assign"):
        narrow = [name for name, dtype in given.dtypes.items() if dtype in (np.float32, np.float16)]
        return given.assign(**{name: as_read(given[name].to_numpy()) for name in narrow}) if narrow else given
    return given


def _two_classes(y: ArrayLike, rows: int) -> NDArray[Any]:
    outcomes = column_or_1d(y, warn=True)
    if outcomes.dtype.kind == "f":
        assert_all_finite(outcomes, input_name="y")
    check_classification_targets(outcomes)
    if len(outcomes) != rows:
        raise ModelError(f"X has {rows} rows and y has {len(outcomes)} outcomes; give one a row")
    found = np.unique(outcomes)
    if np.isin(found, (0, 1)).all():
        return np.array([0, 1])
    if len(found) != 2:
        raise ModelError(
            "Only binary classification is supported: y holds "
            + ("1 class" if len(found) == 1 else f"{len(found)} classes")
        )
    return found


def _nomogram(artefact: str | Path | None, reduced: str | None) -> Nomogram:
    loaded = load_artefact(artefact)
    if reduced is None:
        return loaded
    for nomogram in loaded.reduced:
        if nomogram.name == reduced:
            return nomogram
    known = ", ".join(nomogram.name for nomogram in loaded.reduced)
    raise ModelError(f"{loaded.id} has no reduced nomogram {reduced}; it has {known}")
