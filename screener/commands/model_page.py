"""`screener model page`: the nomogram as one page of HTML."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from screener.commands._options import FileToWrite
from screener.commands.model_local import artefact_option

if TYPE_CHECKING:
    from model import Artefact
    from model.page import Field

EPILOG = """\b
Examples:
  screener model page --out nomogram.html
  screener model page --artefact hospital-x.json --out nomogram.html
"""
# What is typed: analyte, label, the units offered (the first is the slider's), and the slider's ends and step.
_FIELDS = (
    ("age_years", "Age", ("years",), 50, 95, 1),
    ("weight", "Weight", ("kg", "lb"), 35, 120, 0.5),
    ("height", "Height", ("cm", "in"), 135, 190, 0.5),
    ("mg_mmol_l", "Magnesium (serum)", ("mmol/L", "mg/dL", "mg/L", "meq/L"), 0.5, 1.2, 0.005),
    ("p_mmol_l", "Phosphate (serum)", ("mmol/L", "mg/dL", "mg/L"), 0.6, 1.8, 0.01),
    ("ctx_ng_ml", "Beta-CTx", ("ng/mL", "ug/L", "pg/mL", "ng/L"), 0.05, 2, 0.01),
    ("p1np_ng_ml", "P1NP", ("ng/mL", "ug/L"), 5, 250, 1),
    ("ocn_ng_ml", "Osteocalcin", ("ng/mL", "ug/L"), 1, 60, 0.5),
)
_ANALYTE = {
    "mg_mmol_l": "mg",
    "p_mmol_l": "p",
    "ctx_ng_ml": "ctx",
    "p1np_ng_ml": "p1np",
    "ocn_ng_ml": "ocn",
    "weight": "weight",
    "height": "height",
}


@click.command(epilog=EPILOG)
@artefact_option
@click.option("--out", type=FileToWrite(), required=True, help="HTML file to write.")
def page(artefact: str, out: Path) -> None:
    """Write the nomogram as a page for one woman at a time: sliders, units, points, risk with its interval, and the flag.

    It is one file, works without a network, and keeps and sends nothing that is typed. It judges no exclusions.
    """
    from model import load_artefact
    from model.atomic import write_whole
    from model.page import nomogram_page
    from screener.clinical.policy import Policy

    model = load_artefact(artefact)
    text = nomogram_page(model, fields(model), str(Policy().imprecision_mmol_l))
    write_whole(out, [text.encode()])
    click.echo(f"Written: {out}")


def fields(model: "Artefact") -> "list[Field]":
    """What can be typed, with the units and the limits of the shipped tables."""
    from model.page import Field, Unit
    from model.predictors import FURTHER
    from screener.clinical.mapping import MappingTables

    tables = MappingTables.default()
    factors = {(row.analyte.value, row.unit): (str(row.numerator), str(row.denominator)) for row in tables.units}
    plausible = {
        row.analyte.value: (float(row.low or 0), float(row.high or 0))
        for row in tables.ranges
        if row.kind == "plausible"
    }
    possible = {predictor.name: predictor.possible for predictor in model.predictors}
    found = []
    for name, label, units, low, high, step in _FIELDS:
        if name in FURTHER and name not in model.further:
            continue
        analyte = _ANALYTE.get(name, "")
        least, most = plausible[analyte] if analyte else possible[name]
        offered = [Unit(unit, *factors.get((analyte, unit), ("1", "1"))) for unit in units]
        found.append(Field(name, label, offered, low, high, step, least, most))
    return found
