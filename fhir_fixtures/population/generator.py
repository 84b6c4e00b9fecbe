"""Patients as hospitals have them: some with everything measured, most without, some that must not be assessed, some odd.

Each patient is drawn from a generator of her own, seeded by the population's seed and her number: patient 7 is the same in a
population of ten and of a million, and nothing is held in memory.
"""

import random
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from fhir_fixtures.population import laboratory
from fhir_fixtures.population.densitometry import densitometry
from fhir_fixtures.population.histories import histories

Json = dict[str, Any]
Tag = tuple[str, str]

_STAYS_BACK_DAYS = 3 * 365


def generate(
    patients: int, seed: int, today: date, tag: Tag | None = None, *, dxa_share: float = 0.0
) -> Iterator[Json]:
    """FHIR R4 resources of so many patients, a Patient before what refers to it.

    Results lie in the three years before `today`; `tag` (system, code) is put on every resource. Decimals are `Decimal`, digits as
    a laboratory prints them. `dxa_share` is the share of the women of 50 and older with results who have a DXA, too; the rest of the
    population is the same whatever it is.
    """
    meta = {"meta": {"tag": [{"system": tag[0], "code": tag[1]}]}} if tag else {}
    for number in range(1, patients + 1):
        for resource in _patient(seed, number, today, dxa_share):
            yield {"resourceType": resource["resourceType"], "id": resource["id"], **meta, **resource}


def _patient(seed: int, number: int, today: date, dxa_share: float) -> Iterator[Json]:
    draw = _generator(seed, number)
    name = _name(number)
    female, age_years = _sex_and_age(draw)
    stays = draw.choices((0, 1, 2, 3), (0.08, 0.52, 0.27, 0.13))[0]
    days = [today - timedelta(days=draw.randrange(5, _STAYS_BACK_DAYS)) for _ in range(stays)]
    oddity = draw.random()
    # A second record of the patient before her, merged into hers: even numbers only, so that there are no chains.
    merged = number % 2 == 0 and 0.09 <= oddity < 0.11
    if merged:
        female, age_years = _sex_and_age(_generator(seed, number - 1))
    person = _person(name, today - timedelta(days=round(age_years * 365.25)), female=female)
    if merged:
        person["active"] = False
        person["link"] = [{"other": {"reference": f"Patient/{_name(number - 1)}"}, "type": "replaced-by"}]
    yield _odd(draw, person, oddity, max(days, default=today - timedelta(days=400)), today)
    yield from histories(draw, name, number, today, female=female, age_years=age_years)
    body = laboratory.Body.drawn(draw, female=female)
    measured = []
    for stay, day in enumerate(days, start=1):
        measured.append(list(laboratory.stay(draw, f"{number:06d}-{stay}", name, day, body)))
        yield from measured[-1]
    chance = _generator(seed, number, ":dxa")
    if dxa_share and female and age_years >= 50 and measured and chance.random() < dxa_share:
        yield from densitometry(chance, name, age_years, body, measured, today)


def _generator(seed: int, number: int, purpose: str = "") -> random.Random:
    # Not for secrets: the same seed must give the same patients.
    return random.Random(f"{seed}:{number}{purpose}")  # noqa: S311


def _name(number: int) -> str:
    return f"pat-{number:06d}"


def _sex_and_age(draw: random.Random) -> tuple[bool, float]:
    """The first draws of every patient: whether female, and age in years."""
    return draw.random() < 0.8, min(95.0, max(35.0, draw.gauss(65, 12)))


def _person(name: str, born: date, *, female: bool) -> Json:
    return {
        "resourceType": "Patient",
        "id": name,
        "identifier": [{"system": "https://hospital.example/mrn", "value": f"MRN{name[4:]}"}],
        "active": True,
        "name": [{"family": f"Synthetic{name[4:]}", "given": ["Test"]}],
        "gender": "female" if female else "male",
        "birthDate": born.isoformat(),
    }


def _odd(draw: random.Random, person: Json, oddity: float, last_day: date, today: date) -> Json:
    """The person as the record may have her; nobody has results from after her death."""
    if oddity < 0.02:
        person["birthDate"] = person["birthDate"][:4]
    elif oddity < 0.03:
        person["birthDate"] = person["birthDate"][:7]
    elif oddity < 0.04:
        del person["birthDate"]
    elif oddity < 0.05:
        person["gender"] = "unknown"
    elif oddity < 0.08:
        person["deceasedDateTime"] = (today - timedelta(days=draw.randrange((today - last_day).days))).isoformat()
    elif oddity < 0.09:
        person["active"] = False
    return person
