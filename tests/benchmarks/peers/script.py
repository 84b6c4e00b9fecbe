"""The peer that a good engineer would write in an afternoon: fhir.resources for the resources, pandas for the selection.

It takes units as they are, knows no exclusions, no copies, no odd results, and nothing that stands already.
"""

import sys
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.patient import Patient
from fhir.resources.R4B.riskassessment import RiskAssessment

from model import assess, flag, load_artefact

CODES = {"2601-3": "mg", "14879-1": "p", "41171-0": "ctx", "77370-5": "p1np", "29463-7": "weight", "8302-2": "height"}
DAYS = {"p": (90, 14), "ctx": (90, 14), "p1np": (90, 14), "weight": (365, 365), "height": (3652, 3652)}
COLUMNS = {"p": "p_mmol_l", "ctx": "ctx_ng_ml", "p1np": "p1np_ng_ml"}


def main(folder: Path, out: Path) -> None:
    """The whole job in memory."""
    women = read_patients(folder)
    results = read_observations(folder)
    results = results[results.patient.isin(women.patient)]
    mg = results[results.analyte == "mg"].sort_values("when").groupby("patient").tail(1)
    table = mg.merge(women, on="patient").sort_values("when")
    for analyte, (before, after) in DAYS.items():
        other = results[results.analyte == analyte].sort_values("when")[["patient", "when", "value", "id"]]
        other = other.rename(columns={"value": analyte, "id": f"{analyte}_id", "when": f"{analyte}_when"})
        table = pd.merge_asof(
            table, other, left_on="when", right_on=f"{analyte}_when", by="patient", direction="nearest",
            tolerance=pd.Timedelta(days=max(before, after)),
        )  # fmt: skip
    write(table.dropna(), out)


def read_patients(folder: Path) -> pd.DataFrame:
    """Women, and when they were born."""
    rows = []
    for file in sorted(folder.glob("Patient*.ndjson")):
        for line in file.open(encoding="utf-8"):
            patient = Patient.model_validate_json(line)
            if patient.gender == "female":
                rows.append((patient.id, patient.birthDate))
    return pd.DataFrame(rows, columns=["patient", "born"])


def read_observations(folder: Path) -> pd.DataFrame:
    """The results of our six codes."""
    rows = []
    for file in sorted(folder.glob("Observation*.ndjson")):
        for line in file.open(encoding="utf-8"):
            found = Observation.model_validate_json(line)
            analyte = CODES.get(found.code.coding[0].code)
            if analyte and found.status in ("final", "amended", "corrected"):
                patient = found.subject.reference.removeprefix("Patient/")
                rows.append((patient, analyte, found.effectiveDateTime, float(found.valueQuantity.value), found.id))
    table = pd.DataFrame(rows, columns=["patient", "analyte", "when", "value", "id"])
    table["when"] = pd.to_datetime(table.when, utc=True)
    return table


def write(table: pd.DataFrame, out: Path) -> None:
    """A nomogram and a flag for each woman."""
    artefact = load_artefact("shi2026-mg-category")
    age = [years(born, when.date()) for born, when in zip(table.born, table.when, strict=True)]
    flags = np.array([flag(Decimal(str(value))) for value in table.value])
    columns = {COLUMNS[name]: table[name].to_numpy() for name in COLUMNS}
    columns |= {"age_years": np.array(age, dtype=float), "mg_mmol_l": table.value.to_numpy()}
    columns["bmi_kg_m2"] = (table.weight / (table.height / 100) ** 2).to_numpy()
    risk = assess(artefact, columns, flags).risk
    out.mkdir(parents=True)
    with (out / "RiskAssessment.ndjson").open("w", encoding="utf-8") as stream:
        for row, low, chance in zip(table.itertuples(), flags, risk, strict=True):
            basis = [{"reference": f"Observation/{getattr(row, f'{name}_id')}"} for name in DAYS]
            common = {
                "status": "final",
                "subject": {"reference": f"Patient/{row.patient}"},
                "occurrenceDateTime": row.when.isoformat(),
                "basis": [{"reference": f"Observation/{row.id}"}],
            }
            for resource in (
                {**common, "basis": [*common["basis"], *basis],
                 "prediction": [{"probabilityDecimal": round(float(chance) * 100, 1)}]},
                {**common, "prediction": [{"qualitativeRisk": {"text": "at or below" if low else "above"}}]},
            ):  # fmt: skip
                stream.write(RiskAssessment(**resource).model_dump_json() + "\n")


def years(born: date, on: date) -> int:
    """Completed years."""
    return on.year - born.year - ((on.month, on.day) < (born.month, born.day))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
