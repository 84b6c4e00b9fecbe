"""Artefacts written to files, with what a person should see of how they came about."""

import time
from collections.abc import Iterator
from pathlib import Path

from model.artefact import Artefact, load_artefact, write_artefact
from model.errors import ArtefactError
from model.reconstruction.document import VARIANTS, Json, document
from model.reconstruction.readings import digitised, load_readings
from model.reconstruction.recipe import Reconstruction, reconstruct


def build(out: Path, variant: str, readings: Path | None = None) -> Iterator[str]:
    """Write the artefact of a variant to the file `out`, or those of all variants into the folder `out`; yields lines to show.

    With `readings` the coefficients are those of the figure. ArtefactError where the file's folder is missing; ModelError where the
    readings cannot be used.
    """
    if variant == "all" and readings is None:
        out.mkdir(parents=True, exist_ok=True)
    elif not out.absolute().parent.is_dir():
        raise ArtefactError(f"there is no folder {out.absolute().parent.name} to write {out.name} into. Make it first")
    read = load_readings(readings) if readings else None
    began = time.monotonic()
    found = reconstruct()
    yield from _raw_ratios(found)
    for target, made in _documents(found, out, variant) if read is None else [(out, digitised(read, found))]:
        write_artefact(made, target)
        yield from _summary(load_artefact(target), target)
    yield f"{time.monotonic() - began:.1f} s"


def _documents(found: Reconstruction, out: Path, variant: str) -> Iterator[tuple[Path, Json]]:
    if variant != "all":
        yield out, document(found, VARIANTS[variant])
        return
    for one in VARIANTS.values():
        yield out / f"{one.id}.json", document(found, one)


def _raw_ratios(found: Reconstruction) -> Iterator[str]:
    """Which terms Model 2 had: standard errors on the reconstructed cohort against the published ones, nothing adjusted."""
    yield "Standard errors, reconstructed / published, before anything is adjusted:"
    for name, reading in found.readings.items():
        errors = reading.fit.covariance.diagonal()[1:5] ** 0.5
        ratios = zip(reading.terms, errors, found.published.standard_errors, strict=False)
        shown = "  ".join(f"{term} {error / printed:.3f}" for term, error, printed in ratios)
        yield f"  {name} ({len(reading.terms)} terms): {shown}"


def _summary(artefact: Artefact, target: Path) -> Iterator[str]:
    yield f"{artefact.id} {artefact.version} written to {target}"
    yield f"  {'intercept':11} {artefact.intercept:+.5f} at the centres"
    for i, predictor in enumerate(artefact.predictors, start=1):
        per = "presence" if predictor.form == "category" else predictor.unit
        error, kind = artefact.covariance[i, i] ** 0.5, predictor.provenance["kind"]
        yield f"  {predictor.name:11} {predictor.coefficient:+.5f} per {per:8} standard error {error:.5f}  {kind}"
    for nomogram in artefact.reduced:
        yield f"  reduced {nomogram.name:20} expected AUC {nomogram.expected_auc}"
