"""The model as a file: read, checked, and written so that the same model is the same bytes on any machine.

The layout is described in `artefacts/artefact.schema.json`. What is checked here is what a wrong number could hide behind: the
layout's version, the checksum, names, units and forms, that all numbers are finite, and that the covariance is one.
"""

import hashlib
import json
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from model.atomic import write_whole
from model.errors import ArtefactError
from model.predictors import ALL_PREDICTORS, FURTHER, MG, MG_CUT_OFF_MMOL_L, PREDICTORS, UNITS

SCHEMA_VERSION = 1
DEFAULT = "shi2026-mg-category"
SHIPPED = (DEFAULT, "shi2026-mg-continuous", "shi2026-mg-category-shrunken")
SIGNIFICANT_DIGITS = 10
_REBUILD = "Rebuild it with `screener model build --out FILE`, or restore the file"
_ROUNDING = 1e-9  # of the covariance: negative eigenvalues smaller than this (relative) come from rounding alone

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Predictor:
    """One predictor of the nomogram.

    `coefficient` is a log odds ratio per `unit` (of a category: for its presence), `centre` the value at which the intercept
    holds (of a category: the share of women in it). `axis` is that of the nomogram (of a category: 0 to 1), fixed.
    `development_range` and `possible` are in `unit` always: outside the first a value is used and marked, outside the second
    refused. `provenance` and `range_provenance` say where coefficient and range come from; their `kind` is always there.
    """

    name: str
    unit: str
    form: Literal["continuous", "category"]
    centre: float
    coefficient: float
    axis: tuple[float, float]
    development_range: tuple[float, float]
    possible: tuple[float, float]
    provenance: Json
    range_provenance: Json

    @property
    def effect(self) -> tuple[float, float]:
        """The least and the greatest contribution to the linear predictor over the axis."""
        ends = [self.coefficient * (end - self.centre) for end in self.axis]
        return min(ends), max(ends)


@dataclass(frozen=True, eq=False)
class Nomogram:
    """A logistic model over some or all of the predictors. `covariance` (1 + k, 1 + k), read-only: the intercept, then
    the predictors in their order. `expected_auc` is what the development data let expect, None where nobody has said.
    """

    name: str
    intercept: float
    intercept_provenance: Json
    predictors: tuple[Predictor, ...]
    covariance: NDArray[np.float64]
    interval_level: float
    expected_auc: float | None

    @property
    def points_per_logit(self) -> float:
        """How many nomogram points one unit of the linear predictor is worth: 100 for the widest effect over an axis."""
        return 100.0 / max(high - low for low, high in (predictor.effect for predictor in self.predictors))

    @property
    def linear_predictor_at_no_points(self) -> float:
        """Linear predictor = this + total points / points per logit."""
        return self.intercept + sum(predictor.effect[0] for predictor in self.predictors)

    @property
    def has_category(self) -> bool:
        """Whether magnesium counts as its category: the risk then jumps at the cut-off."""
        return any(predictor.form == "category" for predictor in self.predictors)


@dataclass(frozen=True, eq=False)
class Artefact(Nomogram):
    """A model that can be used: the nomogram of all its predictors (the six, and in a site's own perhaps further ones), and reduced
    ones for women in whom some are missing.

    A reduced nomogram has coefficients of its own. It is used only where a site asks for it, and named in every result.
    """

    id: str
    version: str
    title: str
    calibration: Literal["published", "local"]
    checksum: str
    reduced: tuple[Nomogram, ...]
    fifths: tuple[
        float, ...
    ] = ()  # the risks that part the women from whom it was made into fifths; () where nobody has said

    @property
    def name_and_version(self) -> str:
        """`id@version`: how it is named where versions differ."""
        return f"{self.id}@{self.version}"

    def fifth_of(self, risk: float) -> int:
        """In which fifth of the women from whom the model was made a risk lies, 1 for the lowest; 0 where nobody has said."""
        return 1 + bisect_left(self.fifths, risk) if self.fifths else 0

    @property
    def further(self) -> tuple[str, ...]:
        """Its predictors beside the six."""
        return tuple(predictor.name for predictor in self.predictors[len(PREDICTORS) :])

    def reduced_for(self, available: AbstractSet[str]) -> Nomogram | None:
        """The reduced nomogram that uses most of the available predictors (the first of them in the file), or None."""
        usable = [nomogram for nomogram in self.reduced if {p.name for p in nomogram.predictors} <= available]
        return max(usable, key=lambda nomogram: len(nomogram.predictors), default=None)


def load_artefact(which: str | Path | None = None) -> Artefact:
    """Read and check an artefact: the id of a shipped one (`SHIPPED`), or a file; None takes the published model.

    ArtefactError where the file cannot be read, was altered, is of a newer layout, or holds what no model can.
    """
    document, source = _found(which)
    try:
        return _checked(_artefact(document))
    except KeyError as error:
        raise ArtefactError(f"{source} lacks {error}. {_REBUILD}") from error
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise ArtefactError(f"{source} cannot be used: {error}. {_REBUILD}") from error


def load_document(which: str | Path | None = None) -> dict[str, Any]:
    """The JSON of an artefact, with all that `Artefact` leaves out (development, evidence); checked as by `load_artefact`."""
    load_artefact(which)
    return _found(which)[0]


def checksum(document: Json) -> str:
    """SHA-256, in hexadecimal, over the canonical JSON (sorted keys, no blanks) of the document without its checksum."""
    rest = {key: value for key, value in document.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_artefact(document: Json, path: Path) -> None:
    """Write with numbers rounded to ten significant digits and with the checksum; the file appears whole or not at all."""
    rounded = _rounded(document)
    text = json.dumps({**rounded, "checksum": checksum(rounded)}, indent=1, allow_nan=False) + "\n"
    write_whole(path, [text.encode()])


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value


def _found(which: str | Path | None) -> tuple[dict[str, Any], str]:
    """The document, unaltered and of a layout known here, and the name of its file."""
    name = which or DEFAULT
    if name not in SHIPPED:
        return _unaltered(Path(name))
    with as_file(files("model") / "artefacts" / f"{name}.json") as file:
        return _unaltered(file)


def _unaltered(path: Path) -> tuple[dict[str, Any], str]:
    document = _document(path)
    version = document.get("schema_version")
    if type(version) is not int or version < 1:
        raise ArtefactError(f"{path.name} is no model artefact. Name a file made by `screener model build`")
    if version > SCHEMA_VERSION:
        raise ArtefactError(
            f"{path.name} has layout {version}, newer than {SCHEMA_VERSION}, which this version reads. Update screener, or rebuild"
        )
    if document.get("checksum") != checksum(document):
        raise ArtefactError(f"{path.name} does not match its checksum: it was altered. {_REBUILD}")
    return document, path.name


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_not_finite)
    except OSError as error:
        raise ArtefactError(
            f"cannot read the model {path.name}: {error.strerror}. Give a file, or one of {', '.join(SHIPPED)}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path.name} is not whole JSON: cut short, or another kind of file. {_REBUILD}") from error
    if not isinstance(document, dict):
        raise ArtefactError(f"{path.name} is no model artefact. Name a file made by `screener model build`")
    return document


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _artefact(document: Json) -> Artefact:
    predictors = _predictors(document["predictors"])
    level = float(document["interval_level"])
    return Artefact(
        name="all",
        intercept=float(document["intercept"]["value"]),
        intercept_provenance=document["intercept"]["provenance"],
        predictors=predictors,
        covariance=_matrix(document["covariance"]),
        interval_level=level,
        expected_auc=_optional(document["expected_auc"]),
        id=str(document["id"]),
        version=str(document["version"]),
        title=str(document["title"]),
        calibration=document["calibration"],
        checksum=str(document["checksum"]),
        reduced=tuple(_reduced(row, predictors, level) for row in document["reduced"]),
        fifths=_fifths(document),
    )


def _fifths(document: Json) -> tuple[float, ...]:
    """The risks that part the women from whom the model was made into fifths."""
    known = document.get("development", {}).get("risk_percentiles", {})
    found = tuple(float(known[level]) for level in ("20", "40", "60", "80") if level in known)
    return found if len(found) == 4 else ()


def _reduced(row: Json, full: Sequence[Predictor], level: float) -> Nomogram:
    """It shares units, centres, axes and ranges with the full nomogram."""
    known = {predictor.name: predictor for predictor in full}
    provenance = row["provenance"]
    chosen = zip(row["predictors"], row["coefficients"], strict=True)
    return Nomogram(
        name=str(row["name"]),
        intercept=float(row["intercept"]),
        intercept_provenance=provenance,
        predictors=tuple(
            replace(known[name], coefficient=float(value), provenance=provenance) for name, value in chosen
        ),
        covariance=_matrix(row["covariance"]),
        interval_level=level,
        expected_auc=_optional(row["expected_auc"]),
    )


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)


def _matrix(rows: Any) -> NDArray[np.float64]:
    matrix = np.array(rows, dtype=np.float64)
    matrix.flags.writeable = False
    return matrix


def _predictors(rows: Sequence[Json]) -> tuple[Predictor, ...]:
    names = tuple(row["name"] for row in rows)
    if names[: len(PREDICTORS)] != PREDICTORS:
        raise ValueError(f"its predictors are {', '.join(map(str, names))}, and not {', '.join(PREDICTORS)}")
    unknown = [str(name) for name in names[len(PREDICTORS) :] if name not in FURTHER]
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is no predictor that is known here")
    return tuple(_predictor(row) for row in rows)


def _predictor(row: Json) -> Predictor:
    if row["form"] == "category" and (row["name"] != MG or row["cut_off"] != float(MG_CUT_OFF_MMOL_L)):
        raise ValueError(f"only {MG} is a category, cut at {MG_CUT_OFF_MMOL_L}")
    development = row["development_range"]
    return Predictor(
        name=row["name"],
        unit=row["unit"],
        form=row["form"],
        centre=float(row["centre"]),
        coefficient=float(row["coefficient"]),
        axis=_interval(row["axis"]),
        development_range=_interval([development["low"], development["high"]]),
        possible=_interval(row["possible"]),
        provenance=row["provenance"],
        range_provenance=development["provenance"],
    )


def _interval(ends: list[float]) -> tuple[float, float]:
    low, high = (float(end) for end in ends)
    if not low < high:
        raise ValueError("an axis or range does not run from a lower to a higher value")
    return low, high


def _checked(artefact: Artefact) -> Artefact:
    wrong = [p.name for p in artefact.predictors if p.unit != UNITS[p.name] or p.form not in ("continuous", "category")]
    if wrong:
        raise ValueError(f"unit or form of {', '.join(wrong)} is unknown")
    if artefact.calibration not in ("published", "local"):
        raise ValueError("its calibration is neither published nor local")
    if artefact.further and artefact.calibration != "local":
        raise ValueError(f"{', '.join(artefact.further)}: only a site's own model has further predictors")
    if not 0 < artefact.interval_level < 1:
        raise ValueError("its interval level is not between 0 and 1")
    for nomogram in (artefact, *artefact.reduced):
        _check_order(nomogram)
        _check_numbers(nomogram)
        _check_provenance(nomogram)
        _check_covariance(nomogram)
    return artefact


def _check_order(nomogram: Nomogram) -> None:
    names = [predictor.name for predictor in nomogram.predictors]
    if names != [name for name in ALL_PREDICTORS if name in names] or not names:
        raise ValueError(f"the predictors of {nomogram.name} are not in their order, or one comes twice")


def _check_numbers(nomogram: Nomogram) -> None:
    ranges = ((p.centre, p.coefficient, *p.axis, *p.development_range, *p.possible) for p in nomogram.predictors)
    if not all(math.isfinite(number) for number in (nomogram.intercept, *(x for row in ranges for x in row))):
        raise ValueError("a number is not finite")
    if all(p.coefficient == 0 for p in nomogram.predictors):
        raise ValueError("all its coefficients are 0")


def _check_provenance(nomogram: Nomogram) -> None:
    said = [nomogram.intercept_provenance, *(p.provenance for p in nomogram.predictors)]
    if not all("kind" in provenance for provenance in said):
        raise ValueError("a coefficient does not say where it comes from")


def _check_covariance(nomogram: Nomogram) -> None:
    size, covariance = len(nomogram.predictors) + 1, nomogram.covariance
    if covariance.shape != (size, size) or not np.isfinite(covariance).all():
        raise ValueError(f"its covariance is not a finite {size} x {size} matrix")
    values = np.linalg.eigvalsh(covariance)
    if not np.array_equal(covariance, covariance.T) or values[0] < -_ROUNDING * values[-1]:
        raise ValueError("its covariance is not symmetric and positive semi-definite")
