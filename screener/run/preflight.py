"""Whether the files and names that the settings point to can be used: every problem, not only the first."""

from collections.abc import Callable

from model import ModelError, load_artefact
from screener.config.loading import Problem
from screener.config.settings import Settings
from screener.config.tables import site_tables
from screener.errors import ScreenerError
from screener.fhir.client import Client
from screener.run.schedule import triggers


def problems(settings: Settings) -> list[Problem]:
    """What would stop a run before its first request; empty where nothing would."""
    attempts: list[tuple[str, object, Callable[[], object]]] = [
        ("model", settings.model, lambda: load_artefact(settings.model)),
        ("codes", settings.codes.codes, lambda: site_tables(settings.codes)),
        ("schedule", "(see the message)", lambda: triggers(settings.schedule)),
    ]
    if settings.server.base_url:
        attempts.append(("server", settings.server.base_url, lambda: Client(settings.server).close()))
    return [problem for key, value, attempt in attempts for problem in _tried(key, value, attempt)]


def _tried(key: str, value: object, attempt: Callable[[], object]) -> list[Problem]:
    try:
        attempt()
    except (ScreenerError, ModelError, ValueError, OSError, KeyError) as error:
        return [Problem(key, str(value), str(error))]
    return []
