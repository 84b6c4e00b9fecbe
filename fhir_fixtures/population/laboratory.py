"""The results of one stay: what the nomogram needs in several units, look-alikes, and much that nobody asked for."""

import random
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from math import exp, log, log1p, sqrt
from typing import Any, NamedTuple

Json = dict[str, Any]

LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"


class Unit(NamedTuple):
    """How a laboratory prints a value: UCUM code, factor from the model's unit, digits after the point, how often."""

    code: str
    factor: float
    digits: int
    share: float


class Test(NamedTuple):
    """One test: its LOINC code, and the units that it is reported in."""

    code: str
    units: tuple[Unit, ...]
    category: str = "laboratory"


# Three digits after the point now and then: only so do results lie exactly on the cut-off.
MG = Test(
    "2601-3",
    (
        Unit("mmol/L", 1, 2, 0.6),
        Unit("mmol/L", 1, 3, 0.1),
        Unit("mg/dL", 2.4305, 1, 0.2),
        Unit("meq/L", 2, 2, 0.1),
    ),
)
P = Test("14879-1", (Unit("mmol/L", 1, 2, 0.75), Unit("mg/dL", 3.0973762, 1, 0.25)))
CTX = Test(
    "41171-0",
    (Unit("ng/mL", 1, 3, 0.4), Unit("pg/mL", 1000, 0, 0.3), Unit("ng/L", 1000, 0, 0.2), Unit("ug/L", 1, 3, 0.1)),
)
P1NP = Test("77370-5", (Unit("ng/mL", 1, 1, 0.6), Unit("ug/L", 1, 1, 0.4)))
WEIGHT = Test(
    "29463-7", (Unit("kg", 1, 1, 0.8), Unit("g", 1000, 0, 0.1), Unit("[lb_av]", 2.2046226218, 1, 0.1)), "vital-signs"
)
HEIGHT = Test(
    "8302-2", (Unit("cm", 1, 0, 0.8), Unit("m", 0.01, 2, 0.1), Unit("[in_i]", 0.3937007874, 1, 0.1)), "vital-signs"
)

# Results that are in every record and matter to nobody here: LOINC, UCUM, mean, SD, digits.
IRRELEVANT: Sequence[tuple[str, str, float, float, int]] = (
    ("2951-2", "mmol/L", 140.9, 2.3, 0),
    ("2823-3", "mmol/L", 4.05, 0.33, 1),
    ("2075-0", "mmol/L", 105.8, 2.7, 0),
    ("17861-6", "mg/dL", 9.4, 0.4, 1),
    ("718-7", "g/dL", 13.1, 1.3, 1),
    ("2345-7", "mg/dL", 104.0, 22.0, 0),
    ("2160-0", "mg/dL", 0.85, 0.2, 2),
    ("6690-2", "10*3/uL", 6.9, 1.9, 1),
    ("777-3", "10*3/uL", 245.0, 60.0, 0),
    ("8867-4", "/min", 75.0, 11.0, 0),
    ("8310-5", "Cel", 36.7, 0.4, 1),
    ("2708-6", "%", 97.0, 1.5, 0),
    ("9279-1", "/min", 16.0, 2.5, 0),
)


class Body(NamedTuple):
    """What hardly changes between stays."""

    weight_kg: float
    height_cm: float
    mg_mmol_l: float

    @classmethod
    def drawn(cls, draw: random.Random, *, female: bool) -> "Body":
        """Height, weight by a body mass index, and a woman's own level of magnesium."""
        height_cm = draw.gauss(157 if female else 171, 6)
        bmi_kg_m2 = min(45.0, max(16.0, draw.gauss(25.4, 3.6)))
        return cls(bmi_kg_m2 * (height_cm / 100) ** 2, height_cm, draw.gauss(0.855, 0.045))


def stay(draw: random.Random, name: str, patient: str, day: date, body: Body) -> Iterator[Json]:
    """All Observations of one stay; `name` makes their ids unique."""
    at = f"{day.isoformat()}T{draw.randrange(6, 11):02d}:{draw.randrange(60):02d}:00+01:00"
    entry = _Entry(draw, name, patient, at)
    if draw.random() < 0.92:
        yield entry.measured("mg", MG, draw.gauss(body.mg_mmol_l, 0.04))
    if draw.random() < 0.8:
        yield entry.measured("p", P, draw.gauss(1.13, 0.14))
    if draw.random() < 0.55:
        yield entry.measured("ctx", CTX, _log_normal(draw, 0.49, 0.25))
        yield entry.measured("p1np", P1NP, _log_normal(draw, 55.0, 30.0))
    if draw.random() < 0.85:
        yield entry.measured("weight", WEIGHT, body.weight_kg + draw.gauss(0, 0.8))
        yield entry.measured("height", HEIGHT, body.height_cm)
    yield from _look_alikes(draw, entry)
    yield entry.blood_pressure()
    for number in range(draw.randrange(12, 24)):
        code, unit, mean, sd, digits = draw.choice(IRRELEVANT)
        yield entry.observation(f"x{number}", code, _printed(max(draw.gauss(mean, sd), 0.1), digits), unit)


def _look_alikes(draw: random.Random, entry: "_Entry") -> Iterator[Json]:
    """Magnesium that is not serum magnesium."""
    if draw.random() < 0.05:
        yield entry.observation("mgu", "2598-1", _printed(draw.gauss(4.0, 1.0), 1), "mmol/L")
    if draw.random() < 0.03:
        yield entry.observation("mgi", "2600-5", _printed(draw.gauss(0.55, 0.04), 2), "mmol/L")


class _Entry(NamedTuple):
    """Makes the Observations of one stay."""

    draw: random.Random
    name: str
    patient: str
    at: str

    def measured(self, analyte: str, test: Test, value: float) -> Json:
        """A result in one of the test's units, now and then with one of the defects that real results have."""
        unit = self.draw.choices(test.units, [unit.share for unit in test.units])[0]
        printed = _printed(max(value, 0.01) * unit.factor, unit.digits)
        result = self.observation(analyte, test.code, printed, unit.code, test.category)
        defect = self.draw.random()
        if defect < 0.005:
            result["status"] = "preliminary"
        elif defect < 0.010:
            result["status"] = "entered-in-error"
        elif defect < 0.013:
            result["status"] = "cancelled"
        elif defect < 0.018:
            result["valueQuantity"]["comparator"] = "<"
        elif defect < 0.026:
            result["valueQuantity"] = {"value": printed}
        elif defect < 0.030:
            del result["valueQuantity"]
            result["valueString"] = "haemolysed"
        return result

    def observation(self, short: str, code: str, value: Decimal, unit: str, category: str = "laboratory") -> Json:
        """A final result."""
        return {**self._bare(short, code, category), "valueQuantity": _quantity(value, unit)}

    def blood_pressure(self) -> Json:
        """A panel: the values are in its components, it has none itself."""
        systolic, diastolic = (_printed(self.draw.gauss(mean, sd), 0) for mean, sd in ((133, 17), (78, 10)))
        return {
            **self._bare("bp", "85354-9", "vital-signs"),
            "component": [
                {"code": {"coding": [{"system": LOINC, "code": code}]}, "valueQuantity": _quantity(value, "mm[Hg]")}
                for code, value in (("8480-6", systolic), ("8462-4", diastolic))
            ],
        }

    def _bare(self, short: str, code: str, category: str) -> Json:
        return {
            "resourceType": "Observation",
            "id": f"obs-{self.name}-{short}",
            "status": "final",
            "category": [
                {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": category}]}
            ],
            "code": {"coding": [{"system": LOINC, "code": code}]},
            "subject": {"reference": f"Patient/{self.patient}"},
            "effectiveDateTime": self.at,
            "issued": self.at,
        }


def _quantity(value: Decimal, unit: str) -> Json:
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


def _printed(value: float, digits: int) -> Decimal:
    return Decimal(f"{value:.{digits}f}")


def _log_normal(draw: random.Random, mean: float, sd: float) -> float:
    variance = log1p((sd / mean) ** 2)
    return exp(draw.gauss(log(mean) - variance / 2, sqrt(variance)))
