"""Reads the settings: defaults, profile, `screener.toml`, environment, flags; the later ones win.

Every problem is found in one pass and named with its key, its value and what would do instead.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from screener.base.errors import ConfigurationError
from screener.config.servers import Section
from screener.config.settings import Settings

PREFIX = "SCREENER_"
FILE = Path("screener.toml")
_NOT_SETTINGS = frozenset({"SCREENER_CONFIG", "SCREENER_PROFILE"})

PROFILES: dict[str, dict[str, Any]] = {
    "hapi-sandbox": {
        # hapi.fhir.org: 500 entries a page at most, purged often, no personal data; only what carries our seed tag.
        "write": "on",
        "acknowledge_uncalibrated": True,
        "server": {
            "base_url": "https://hapi.fhir.org/baseR4",
            "page_size": 500,
            "batch_patients": 50,
            "only_tag": "https://example.org/fhir/osteoporosis-screener/CodeSystem/seed|synthetic",
        },
        "output": {
            "canonical": "https://example.org/fhir/osteoporosis-screener/hapi-sandbox",
            "tag": "https://example.org/fhir/osteoporosis-screener/CodeSystem/seed|synthetic",
        },
    },
}


# The sections by name.
SECTIONS: dict[str, type[Section]] = {
    name: type(field.default) for name, field in Settings.model_fields.items() if isinstance(field.default, Section)
}


class Problem(NamedTuple):
    """One thing wrong with the configuration."""

    key: str
    value: str
    remedy: str


class InvalidSettings(ConfigurationError):
    """All problems of a configuration at once."""

    def __init__(self, problems: list[Problem]) -> None:
        lines = [f"  {p.key} = {p.value}: {p.remedy}" for p in problems]
        headline = f"The configuration has {len(problems)} problem{'s' if len(problems) > 1 else ''}"
        super().__init__("\n".join([headline, *lines]))
        self.problems = problems


# Secrets that a file of settings must not hold.
_FROM_ENVIRONMENT = (
    *((section, key) for section in ("server", "destination") for key in ("token", "password")),
    ("notify", "url"),
)


class Found(NamedTuple):
    """What was found of a configuration: the settings as far as they can be used, and what is wrong with the rest."""

    settings: Settings
    problems: list[Problem]


def load(
    path: Path | None = None,
    profile: str | None = None,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """The effective settings. Takes what `examine` takes; raises InvalidSettings with every problem."""
    found = examine(path, profile, flags, environment)
    if found.problems:
        raise InvalidSettings(found.problems)
    return found.settings


def examine(
    path: Path | None = None,
    profile: str | None = None,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Found:
    """The effective settings and every problem; a key with a problem has its default in the settings.

    `path`: the TOML file; None takes SCREENER_CONFIG, else `screener.toml` in the working folder where there is one. `flags`: a
    nested mapping like the file. Raises ConfigurationError for an unreadable file and an unknown profile.
    """
    environment = os.environ if environment is None else environment
    in_file = _read(path, environment)
    own_profiles = in_file.pop("profile", {})
    profiles = {**PROFILES, **own_profiles}
    name = profile or environment.get("SCREENER_PROFILE", "")
    if name and name not in profiles:
        meant = _meant(name, profiles, "known profiles")
        raise ConfigurationError(f"There is no profile {name!r}", meant[0].upper() + meant[1:])
    problems: list[Problem] = []
    for section, key in _FROM_ENVIRONMENT:
        if any(key in layer.get(section, {}) for layer in (in_file, *own_profiles.values())):
            remedy = f"put it into a file ({section}.{key}_file) or SCREENER_{section.upper()}_{key.upper()}"
            problems.append(Problem(f"{section}.{key}", "(not shown)", remedy))
    merged: dict[str, Any] = {}
    for layer in (in_file, profiles.get(name, {}), _from_environment(environment, problems), flags or {}):
        _overlay(merged, layer)
    return _validated(merged, problems)


def _validated(merged: dict[str, Any], problems: list[Problem]) -> Found:
    """A problem of one key may hide another: each is left out, and the rest is validated again."""
    while True:
        try:
            return Found(Settings.model_validate(merged), problems)
        except ValidationError as error:
            for detail in error.errors():
                problems.append(_problem(detail))
                _leave_out(merged, detail["loc"])


def _leave_out(merged: dict[str, Any], place: tuple[int | str, ...]) -> None:
    """Remove a key; what is within a list or a value of its own goes with it."""
    within: Any = merged
    for part in place[:-1]:
        if not isinstance(within.get(part), dict):
            break
        within = within[part]
    else:
        within.pop(place[-1], None)
        return
    within.pop(part, None)


def _meant(name: str, known: Iterable[str], what: str = "known here") -> str:
    """What to do about an unknown name: the nearest known one, or all of them."""
    names = sorted(known)
    near = get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"{what}: {', '.join(names)}"


_SECRET = re.compile(r"token|url|secret|password|key|credential|command")  # an address may hold a password


def _problem(detail: Any) -> Problem:
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        section = Settings() if len(detail["loc"]) == 1 else getattr(Settings(), str(detail["loc"][0]))
        # An unknown key may be a misspelt one of a secret.
        meant = _meant(str(detail["loc"][-1]), type(section).model_fields)
        return Problem(key, "(not shown)", f"unknown key; {meant}")
    # A problem of a whole section comes with all its values.
    hidden = isinstance(detail["input"], Mapping) or _SECRET.search(key)
    shown = "(not shown)" if hidden else repr(detail["input"])
    return Problem(key, shown, detail["msg"][0].lower() + detail["msg"][1:])


def _read(path: Path | None, environment: Mapping[str, str]) -> dict[str, Any]:
    chosen = path or (Path(environment["SCREENER_CONFIG"]) if environment.get("SCREENER_CONFIG") else None)
    if chosen is None and not FILE.is_file():
        return {}
    file = chosen or FILE
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"Cannot read {file.name}: {error.strerror}", "Check the path and its permissions"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file.name} is not valid TOML: {error}", "Mend that line") from error
    for layer in (found, *found.get("profile", {}).values()):
        _beside(layer, file.absolute().parent)
    return found


def _beside(layer: dict[str, Any], folder: Path) -> None:
    """The files that a layer names, as paths: a file of settings names others from where it lies, wherever the command is called."""
    for section, name in _FILES:
        values = layer.get(section) if section else layer
        given = values.get(name) if isinstance(values, dict) else None
        if isinstance(values, dict) and isinstance(given, str) and given:
            shipped = name == "model" and _SHIPPED_MODEL.fullmatch(given)
            values[name] = given if shipped else str(folder / given)


def _file_keys(section: type[Section] | type[Settings]) -> list[str]:
    """The keys whose value is the path of a file or folder."""
    return [key for key, field in section.model_fields.items() if field.annotation == Path | None]


_FILES = (
    ("", "model"),
    *(("", key) for key in _file_keys(Settings)),
    *((name, key) for name, section in SECTIONS.items() for key in _file_keys(section)),
)
_SHIPPED_MODEL = re.compile(r"[A-Za-z0-9-]+")  # an id; a file has a dot or a slash


def _from_environment(environment: Mapping[str, str], problems: list[Problem]) -> dict[str, Any]:
    """SCREENER_WRITE is `write`, SCREENER_STATE_URL is `url` in `[state]`."""
    layer: dict[str, Any] = {}
    for name, text in sorted(environment.items()):
        if not name.startswith(PREFIX) or name in _NOT_SETTINGS:
            continue
        key = name.removeprefix(PREFIX).lower()
        section, _, rest = key.partition("_")
        if key in Settings.model_fields and key not in SECTIONS:
            layer[key] = text
        elif section in SECTIONS and rest:
            layer.setdefault(section, {})[rest] = text
        else:
            names = [PREFIX + known.upper() for known in _keys()]
            near = get_close_matches(name, names, n=1, cutoff=0.7)
            meant = f"did you mean {near[0]}?" if near else "see `screener config show`"
            problems.append(Problem(name, "(set)", f"no setting has this name; {meant}"))
    return layer


def _keys() -> list[str]:
    """Every setting, as the environment names it, in lower case."""
    own = [name for name in Settings.model_fields if name not in SECTIONS]
    return own + [f"{section}_{key}" for section, kind in SECTIONS.items() for key in kind.model_fields]


def _overlay(base: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _overlay(base[key], value)
        else:
            base[key] = dict(value) if isinstance(value, Mapping) else value
