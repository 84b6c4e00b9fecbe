"""Patients as hospitals have them: some with everything measured, most without, some that must not be assessed, some odd.

Each patient is drawn from a generator of her own, seeded by the population's seed and her number: patient 7 is the same in a
population of ten and of a million, and nothing is held in memory.
"""

import random
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from fhir_fixtures.population import laboratory
from fhir_fixtures.population.histories import histories

Json = dict[str, Any]
Tag = tuple[str, str]

_STAYS_BACK_DAYS = 3 * 365


def generate(patients: int, seed: int, today: date, tag: Tag | None = None) -> Iterator[Json]:
    """FHIR R4 resources of so many patients, a Patient before what refers to it.

    Results lie in the three years before `today`; `tag` (system, code) is put on every resource. Decimals are `Decimal`, digits as
    a laboratory prints them.
    """
    meta = {"meta": {"tag": [{"system": tag[0], "code": tag[1]}]}} if tag else {}
    for number in range(1, patients + 1):
        # Not for secrets: the same seed must give the same patients.
        for resource in _patient(random.Random(f"{seed}:{number}"), number, today):  # noqa: S311
            yield {"resourceType": resource["resourceType"], "id": resource["id"], **meta, **resource}


def _patient(draw: random.Random, number: int, today: date) -> Iterator[Json]:
    name = f"pat-{number:06d}"
    female = draw.random() < 0.8
    age_years = min(95.0, max(30.0, draw.gauss(65, 12)))
    born = today - timedelta(days=round(age_years * 365.25))
    yield _person(draw, name, born, female=female, today=today)
    yield from histories(draw, name, number, today, female=female, age_years=age_years)
    body = laboratory.Body.drawn(draw, female=female)
    stays = draw.choices((0, 1, 2, 3), (0.08, 0.52, 0.27, 0.13))[0]
    for stay in range(1, stays + 1):
        day = today - timedelta(days=draw.randrange(5, _STAYS_BACK_DAYS))
        yield from laboratory.stay(draw, f"{number:06d}-{stay}", name, day, body)


def _person(draw: random.Random, name: str, born: date, *, female: bool, today: date) -> Json:
    person: Json = {
        "resourceType": "Patient",
        "id": name,
        "identifier": [{"system": "https://hospital.example/mrn", "value": f"MRN{name[4:]}"}],
        "active": True,
        "name": [{"family": f"Synthetic{name[4:]}", "given": ["Test"]}],
        "gender": "female" if female else "male",
        "birthDate": born.isoformat(),
    }
    oddity = draw.random()
    if oddity < 0.02:
        person["birthDate"] = person["birthDate"][:4]
    elif oddity < 0.03:
        person["birthDate"] = person["birthDate"][:7]
    elif oddity < 0.04:
        del person["birthDate"]
    elif oddity < 0.05:
        person["gender"] = "unknown"
    elif oddity < 0.08:
        person["deceasedDateTime"] = (today - timedelta(days=draw.randrange(1, 400))).isoformat()
    elif oddity < 0.09:
        person["active"] = False
    return person
