"""Exports to measure with: lines as a laboratory's server writes them, some 850 bytes each, in the layout of a bulk export.

Every patient is a woman of 52 to 89 with two stays, at each of which all six results were taken, and four further visits with weight
and height: 20 results, and every woman is scored.
"Irrelevant" Observations (blood counts, electrolytes, vital signs) fill an export up to what real ones hold. Seeded: the same
arguments give the same bytes.
"""

import random
import uuid
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

TODAY = date(2026, 1, 31)
NOW = "2026-01-31T02:00:00Z"
LINES_PER_FILE = 500_000

_OURS = (  # LOINC code, display, unit, digits, lowest and highest value
    ("2601-3", "Magnesium [Moles/volume] in Serum or Plasma", "mmol/L", 2, 0.65, 1.05),
    ("14879-1", "Phosphate [Moles/volume] in Serum or Plasma", "mmol/L", 2, 0.8, 1.5),
    ("41171-0", "Collagen crosslinked C-telopeptide [Mass/volume] in Serum or Plasma", "ng/mL", 3, 0.1, 1.1),
    ("77370-5", "Procollagen type I.N-terminal propeptide [Mass/volume] in Serum or Plasma", "ng/mL", 1, 15, 110),
    ("29463-7", "Body weight", "kg", 1, 45, 95),
    ("8302-2", "Body height", "cm", 0, 148, 175),
)
_OTHERS = (
    ("2951-2", "Sodium [Moles/volume] in Serum or Plasma", "mmol/L", 0, 130, 148),
    ("2823-3", "Potassium [Moles/volume] in Serum or Plasma", "mmol/L", 1, 3.2, 5.4),
    ("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 1, 9, 16),
    ("6690-2", "Leukocytes [#/volume] in Blood by Automated count", "10*3/uL", 1, 3, 14),
    ("777-3", "Platelets [#/volume] in Blood by Automated count", "10*3/uL", 0, 120, 420),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", 2, 0.5, 1.9),
    ("8867-4", "Heart rate", "/min", 0, 50, 110),
    ("59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry", "%", 0, 90, 100),
    ("2345-7", "Glucose [Mass/volume] in Serum or Plasma", "mg/dL", 0, 70, 220),
)
_OBSERVATION = (
    '{{"resourceType":"Observation","id":"{id}","meta":{{"versionId":"1","lastUpdated":"{day}T09:12:44.000+00:00",'
    '"source":"#laboratory","profile":["http://hl7.org/fhir/us/core/StructureDefinition/us-core-observation-lab"]}},'
    '"status":"final","category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/observation-category",'
    '"code":"laboratory","display":"Laboratory"}}],"text":"Laboratory"}}],'
    '"code":{{"coding":[{{"system":"http://loinc.org","code":"{code}","display":"{display}"}}],"text":"{display}"}},'
    '"subject":{{"reference":"Patient/{patient}"}},"encounter":{{"reference":"Encounter/{encounter}"}},'
    '"effectiveDateTime":"{day}T07:{minute:02d}:00+01:00","issued":"{day}T09:12:44.000+00:00",'
    '"performer":[{{"reference":"Organization/central-laboratory"}}],'
    '"valueQuantity":{{"value":{value},"unit":"{unit}","system":"http://unitsofmeasure.org","code":"{unit}"}}}}\n'
)
_PATIENT = (
    '{{"resourceType":"Patient","id":"{id}","meta":{{"versionId":"1","lastUpdated":"2025-12-01T00:00:00.000+00:00"}},'
    '"identifier":[{{"system":"https://hospital.example/mrn","value":"{number}"}}],"active":true,'
    '"name":[{{"family":"Synthetic{number}","given":["Test"]}}],"gender":"female","birthDate":"{born}"}}\n'
)


def export(folder: Path, patients: int, *, others_per_result: int = 0, seed: int = 1) -> tuple[int, int]:
    """Write an export of so many women, 20 results each, and `others_per_result` irrelevant Observations for each of those.

    Returns (Observations, bytes). Files hold half a million lines at most; a woman's lines lie in one file, as servers write them.
    """
    folder.mkdir(parents=True, exist_ok=False)
    written = lines = 0
    with (folder / "Patient.000.ndjson").open("wb") as people:
        stream, file = None, 0
        for number in range(patients):
            if stream is None or lines // LINES_PER_FILE >= file:
                if stream is not None:
                    stream.close()
                stream = (folder / f"Observation.{file:03d}.ndjson").open("wb")
                file += 1
            person, results = _woman(number, others_per_result, seed)
            written += people.write(person)
            for text in results:
                written += stream.write(text)
                lines += 1
        if stream is not None:
            stream.close()
    return lines, written


def _woman(number: int, others_per_result: int, seed: int) -> tuple[bytes, Iterator[bytes]]:
    draw = random.Random(f"{seed}:{number}")  # noqa: S311 - not for secrets: the same seed must give the same bytes
    name = str(uuid.UUID(int=draw.getrandbits(128), version=4))
    born = TODAY - timedelta(days=draw.randrange(52 * 366, 89 * 365))
    person = _PATIENT.format(id=name, number=number, born=born.isoformat()).encode()
    return person, _results(draw, name, others_per_result)


def _results(draw: random.Random, patient: str, others_per_result: int) -> Iterator[bytes]:
    latest = draw.randrange(5, 300)
    stays = (latest + draw.randrange(60, 300), latest)
    visits = [draw.randrange(5, 900) for _ in range(4)]
    for back in (*visits, *stays):
        day = (TODAY - timedelta(days=back)).isoformat()
        encounter = str(uuid.UUID(int=draw.getrandbits(128), version=4))
        for ours in _OURS if back in stays else _OURS[-2:]:
            yield _line(draw, ours, patient, encounter, day)
            for _ in range(others_per_result):
                yield _line(draw, draw.choice(_OTHERS), patient, encounter, day)


def _line(
    draw: random.Random, kind: tuple[str, str, str, int, float, float], patient: str, encounter: str, day: str
) -> bytes:
    code, display, unit, digits, low, high = kind
    return _OBSERVATION.format(
        id=uuid.UUID(int=draw.getrandbits(128), version=4),
        day=day,
        code=code,
        display=display,
        patient=patient,
        encounter=encounter,
        minute=draw.randrange(60),
        value=f"{low + (high - low) * draw.random():.{digits}f}",
        unit=unit,
    ).encode()
