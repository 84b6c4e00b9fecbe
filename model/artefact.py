"""The model as a file: read, checked, and written so that the same model is the same bytes on any machine."""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from model.errors import ArtefactError
from model.predictors import PREDICTORS, UNITS

SCHEMA_VERSION = 1
DEFAULT = "shi2026-mg-category"
SIGNIFICANT_DIGITS = 10
_REBUILD = "Rebuild it with `python -m model build --out FILE`, or restore the file"
_ROUNDING = 1e-9  # of the covariance: negative eigenvalues smaller than this (relative) come from rounding alone


@dataclass(frozen=True)
class Predictor:
    """One predictor of the nomogram.

    `coefficient` is a log odds ratio per `unit` (for a category: of its presence), `centre` the value at which the intercept holds.
    `axis` is that of the nomogram, fixed; `development_range` the values of the women whom the model was made from.
    """

    name: str
    unit: str
    form: Literal["continuous", "category"]
    centre: float
    coefficient: float
    axis: tuple[float, float]
    development_range: tuple[float, float]
    provenance: Mapping[str, Any]


@dataclass(frozen=True)
class Artefact:
    """A model that can be used. `covariance` (7, 7): the intercept, then the predictors in their order."""

    id: str
    version: str
    title: str
    calibration: Literal["published", "local"]
    checksum: str
    intercept: float
    predictors: tuple[Predictor, ...]
    covariance: NDArray[np.float64]
    interval_level: float


def load_artefact(path: Path | None = None) -> Artefact:
    """Read and check an artefact; None takes the published model that is shipped.

    ArtefactError where the file cannot be read, was altered, is of a newer layout, or holds what no model can.
    """
    if path is not None:
        return _load(path)
    with as_file(files("model") / "artefacts" / f"{DEFAULT}.json") as shipped:
        return _load(shipped)


def _load(path: Path) -> Artefact:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtefactError(f"cannot read {path.name}: {error.strerror}. Check `model` in the configuration") from error
    except ValueError as error:
        raise ArtefactError(f"{path.name} is not JSON. {_REBUILD}") from error
    if not isinstance(document, dict) or "schema_version" not in document:
        raise ArtefactError(f"{path.name} is no model artefact. Name a file made by `python -m model build`")
    if document["schema_version"] != SCHEMA_VERSION:
        raise ArtefactError(
            f"{path.name} has layout {document['schema_version']}, this version reads {SCHEMA_VERSION}. Update screener, or rebuild"
        )
    if document.get("checksum") != checksum(document):
        raise ArtefactError(f"{path.name} does not match its checksum: it was altered or cut short. {_REBUILD}")
    try:
        return _checked(_artefact(document))
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{path.name} lacks or misnames a part ({error}). {_REBUILD}") from error


def checksum(document: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON of the document without its checksum."""
    rest = {key: value for key, value in document.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_artefact(document: Mapping[str, Any], path: Path) -> None:
    """Write with numbers rounded to ten significant digits and with the checksum; the file appears whole or not at all."""
    rounded = _rounded(document)
    text = json.dumps({**rounded, "checksum": checksum(rounded)}, indent=1) + "\n"
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
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value


def _artefact(document: Mapping[str, Any]) -> Artefact:
    return Artefact(
        id=str(document["id"]),
        version=str(document["version"]),
        title=str(document["title"]),
        calibration=document["calibration"],
        checksum=str(document["checksum"]),
        intercept=float(document["intercept"]["value"]),
        predictors=tuple(_predictor(row) for row in document["predictors"]),
        covariance=np.array(document["covariance"], dtype=np.float64),
        interval_level=float(document["interval_level"]),
    )


def _predictor(row: Mapping[str, Any]) -> Predictor:
    development = row["development_range"]
    return Predictor(
        name=row["name"],
        unit=row["unit"],
        form=row["form"],
        centre=float(row["centre"]),
        coefficient=float(row["coefficient"]),
        axis=(float(row["axis"][0]), float(row["axis"][1])),
        development_range=(float(development["low"]), float(development["high"])),
        provenance=row["provenance"],
    )


def _checked(artefact: Artefact) -> Artefact:
    names = tuple(predictor.name for predictor in artefact.predictors)
    if names != PREDICTORS:
        raise ValueError(f"predictors are {', '.join(names)}")
    wrong = [p.name for p in artefact.predictors if p.unit != UNITS[p.name] or p.form not in ("continuous", "category")]
    if wrong:
        raise ValueError(f"unit or form of {', '.join(wrong)}")
    if artefact.calibration not in ("published", "local"):
        raise ValueError("calibration")
    numbers = [artefact.intercept, *(x for p in artefact.predictors for x in (p.centre, p.coefficient, *p.axis))]
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError("a number is not finite")
    _check_covariance(artefact.covariance)
    return artefact


def _check_covariance(covariance: NDArray[np.float64]) -> None:
    size = len(PREDICTORS) + 1
    if covariance.shape != (size, size) or not np.isfinite(covariance).all():
        raise ValueError(f"covariance is not a finite {size} x {size} matrix")
    values = np.linalg.eigvalsh(covariance)
    if not np.allclose(covariance, covariance.T, rtol=1e-8) or values[0] < -_ROUNDING * values[-1]:
        raise ValueError("covariance is no covariance")
