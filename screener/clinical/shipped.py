"""The shipped tables as a whole: their date, and how many codes they hold."""

import csv
import hashlib
from importlib import resources
from importlib.resources.abc import Traversable

import msgspec


class Shipped(msgspec.Struct, frozen=True):
    """`date`: the day of the last change (YYYY-MM-DD); `sha256`: of all files as they were then; `codes`: rows of the value sets."""

    date: str
    sha256: str
    codes: int


def shipped() -> Shipped:
    """What the package holds. The date and the hash are those that `data/version.csv` names."""
    data = _data()
    with (data / "version.csv").open(encoding="utf-8") as stream:
        named = next(csv.DictReader(stream))
    codes = sum(file.read_bytes().count(b"\n") - 1 for file in (data / "valuesets").iterdir())
    return Shipped(named["date"], named["sha256"], codes)


def digest() -> str:
    """SHA-256 of the files that are there now, version.csv left out."""
    found = hashlib.sha256()
    data = _data()
    files = [*data.iterdir(), *(data / "valuesets").iterdir()]
    for file in sorted((f for f in files if f.name.endswith(".csv") and f.name != "version.csv"), key=lambda f: f.name):
        found.update(f"{file.name}\n".encode() + file.read_bytes())
    return found.hexdigest()


def _data() -> Traversable:
    return resources.files("screener.clinical") / "data"
