"""The model as a file: read, checked, and written so that the same model is the same bytes on any machine.

The layout is described in `artefacts/artefact.schema.json`. What is checked here is what a wrong number could hide behind: the
layout's version, the checksum, names, units and forms, that all numbers are finite, and that the covariance is one.
"""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from model.errors import ArtefactError
from model.predictors import MG, MG_CUT_OFF_MMOL_L, PREDICTORS, UNITS

SCHEMA_VERSION = 1
DEFAULT = "shi2026-mg-category"
SIGNIFICANT_DIGITS = 10
_REBUILD = "Rebuild it with `python -m model build --out FILE`, or restore the file"
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
class Artefact:
    """A model that can be used. `covariance` (7, 7), read-only: the intercept, then the predictors in their order."""

    id: str
    version: str
    title: str
    calibration: Literal["published", "local"]
    checksum: str
    intercept: float
    intercept_provenance: Json
    predictors: tuple[Predictor, ...]
    covariance: NDArray[np.float64]
    interval_level: float

    @property
    def points_per_logit(self) -> float:
        """How many nomogram points one unit of the linear predictor is worth: 100 for the widest effect over an axis."""
        return 100.0 / max(high - low for low, high in (predictor.effect for predictor in self.predictors))

    @property
    def linear_predictor_at_no_points(self) -> float:
        """Linear predictor = this + total points / points per logit."""
        return self.intercept + sum(predictor.effect[0] for predictor in self.predictors)


def load_artefact(path: Path | None = None) -> Artefact:
    """Read and check an artefact; None takes the published model that is shipped.

    ArtefactError where the file cannot be read, was altered, is of a newer layout, or holds what no model can.
    """
    if path is not None:
        return _load(path)
    with as_file(files("model") / "artefacts" / f"{DEFAULT}.json") as shipped:
        return _load(shipped)


def checksum(document: Json) -> str:
    """SHA-256, in hexadecimal, over the canonical JSON (sorted keys, no blanks) of the document without its checksum."""
    rest = {key: value for key, value in document.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_artefact(document: Json, path: Path) -> None:
    """Write with numbers rounded to ten significant digits and with the checksum; the file appears whole or not at all."""
    rounded = _rounded(document)
    text = json.dumps({**rounded, "checksum": checksum(rounded)}, indent=1, allow_nan=False) + "\n"
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value


def _load(path: Path) -> Artefact:
    document = _document(path)
    version = document.get("schema_version")
    if type(version) is not int or version < 1:
        raise ArtefactError(f"{path.name} is no model artefact. Name a file made by `python -m model build`")
    if version > SCHEMA_VERSION:
        raise ArtefactError(
            f"{path.name} has layout {version}, newer than {SCHEMA_VERSION}, which this version reads. Update screener, or rebuild"
        )
    if document.get("checksum") != checksum(document):
        raise ArtefactError(f"{path.name} does not match its checksum: it was altered. {_REBUILD}")
    try:
        return _checked(_artefact(document))
    except KeyError as error:
        raise ArtefactError(f"{path.name} lacks {error}. {_REBUILD}") from error
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise ArtefactError(f"{path.name} cannot be used: {error}. {_REBUILD}") from error


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_not_finite)
    except OSError as error:
        raise ArtefactError(f"cannot read {path.name}: {error.strerror}. Check `model` in the configuration") from error
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path.name} is not whole JSON: cut short, or another kind of file. {_REBUILD}") from error
    if not isinstance(document, dict):
        raise ArtefactError(f"{path.name} is no model artefact. Name a file made by `python -m model build`")
    return document


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _artefact(document: Json) -> Artefact:
    covariance = np.array(document["covariance"], dtype=np.float64)
    covariance.flags.writeable = False
    return Artefact(
        id=str(document["id"]),
        version=str(document["version"]),
        title=str(document["title"]),
        calibration=document["calibration"],
        checksum=str(document["checksum"]),
        intercept=float(document["intercept"]["value"]),
        intercept_provenance=document["intercept"]["provenance"],
        predictors=tuple(_predictor(row) for row in document["predictors"]),
        covariance=covariance,
        interval_level=float(document["interval_level"]),
    )


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
    names = tuple(predictor.name for predictor in artefact.predictors)
    if names != PREDICTORS:
        raise ValueError(f"its predictors are {', '.join(names)}, and not {', '.join(PREDICTORS)}")
    wrong = [p.name for p in artefact.predictors if p.unit != UNITS[p.name] or p.form not in ("continuous", "category")]
    if wrong:
        raise ValueError(f"unit or form of {', '.join(wrong)} is unknown")
    if artefact.calibration not in ("published", "local"):
        raise ValueError("its calibration is neither published nor local")
    if not 0 < artefact.interval_level < 1:
        raise ValueError("its interval level is not between 0 and 1")
    _check_numbers(artefact)
    _check_provenance(artefact)
    _check_covariance(artefact.covariance)
    return artefact


def _check_numbers(artefact: Artefact) -> None:
    ranges = ((p.centre, p.coefficient, *p.axis, *p.development_range, *p.possible) for p in artefact.predictors)
    if not all(math.isfinite(number) for number in (artefact.intercept, *(x for row in ranges for x in row))):
        raise ValueError("a number is not finite")
    if all(p.coefficient == 0 for p in artefact.predictors):
        raise ValueError("all its coefficients are 0")


def _check_provenance(artefact: Artefact) -> None:
    said = [artefact.intercept_provenance, *(p.provenance for p in artefact.predictors)]
    if not all("kind" in provenance for provenance in said):
        raise ValueError("a coefficient does not say where it comes from")


def _check_covariance(covariance: NDArray[np.float64]) -> None:
    size = len(PREDICTORS) + 1
    if covariance.shape != (size, size) or not np.isfinite(covariance).all():
        raise ValueError(f"its covariance is not a finite {size} x {size} matrix")
    values = np.linalg.eigvalsh(covariance)
    if not np.array_equal(covariance, covariance.T) or values[0] < -_ROUNDING * values[-1]:
        raise ValueError("its covariance is not symmetric and positive semi-definite")
