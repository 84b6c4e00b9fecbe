"""Whether a run could begin with the settings: every problem with files, names and places, not only the first."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from model import ModelError, load_artefact
from screener.base.errors import ScreenerError
from screener.config.loading import Found, Problem
from screener.config.servers import ServerSettings
from screener.config.settings import CodeSettings, CohortSettings, ScheduleSettings, Settings
from screener.config.tables import described, label_tables, site_tables
from screener.fhir import keys
from screener.fhir.client import Client
from screener.operations.schedule import triggers
from screener.run.permission import check_acknowledged, check_canonical
from screener.state import State
from screener.stores.patient_lists import patients_of_file

Attempt = Callable[[], object]


def problems(found: Found, *, folders_only: bool = False) -> list[Problem]:
    """All that would stop a run before its first request, beside what was found when the settings were read.

    `folders_only`: the job works from folder to folder, so no server is needed.
    """
    known = {problem.key for problem in found.problems}
    named = [*found.problems]
    for key, value, attempt in _attempts(found.settings, folders_only=folders_only):
        if key not in known:
            named += _tried(key, value, attempt)
    return named


def _attempts(settings: Settings, *, folders_only: bool) -> Iterator[tuple[str, str, Attempt]]:
    """(key, value to show, what raises where it cannot be used)."""
    yield "model", settings.model, lambda: load_artefact(settings.model)
    for table in ("codes", "units", "exclusions", "expanded"):
        if path := getattr(settings.codes, table):
            yield f"codes.{table}", str(path), _one_table(table, path)
    yield "codes.unreviewed", settings.codes.unreviewed, lambda: described(settings.codes)
    for table in ("t_scores", "diagnoses"):
        if path := getattr(settings.cohort, table):
            yield f"cohort.{table}", str(path), _one_label_table(table, path)
    if listed := settings.opted_out:
        yield "opted_out", str(listed), lambda: patients_of_file(listed, "opted_out")
    if temporary := settings.folder.temporary:
        yield "folder.temporary", str(temporary), lambda: _writable_folder(temporary)
    own, usual = settings.schedule, ScheduleSettings()
    for key in ("timezone", "nightly", "backfill"):
        one = usual.model_copy(update={key: getattr(own, key)})
        yield f"schedule.{key}", getattr(own, key), lambda one=one: triggers(one)  # type: ignore[misc]
    yield "state.url", "(not shown)", lambda: _state(settings.state.url)
    if not folders_only:
        yield from _servers(settings)


def _servers(settings: Settings) -> Iterator[tuple[str, str, Attempt]]:
    yield "server.base_url", "(not shown)", lambda: _server(settings.server)
    if settings.destination.base_url:
        yield "destination.base_url", "(not shown)", lambda: _server(settings.destination)
    if settings.write == "on":
        yield (
            "acknowledge_uncalibrated",
            "false",
            lambda: check_acknowledged(load_artefact(settings.model), acknowledged=settings.acknowledge_uncalibrated),
        )
        if not settings.written_to.is_this_machine:  # perhaps the sandbox, which takes what no site's server should
            yield "output.canonical", settings.output.canonical, lambda: check_canonical(settings.output.canonical)


def _tried(key: str, value: str, attempt: Attempt) -> list[Problem]:
    try:
        attempt()
    except (ScreenerError, ModelError, ValueError, OSError, KeyError) as error:
        return [Problem(key, value, str(error))]
    return []


def _one_table(key: str, path: Path) -> Attempt:
    return lambda: site_tables(CodeSettings.model_validate({key: path}))


def _one_label_table(key: str, path: Path) -> Attempt:
    return lambda: label_tables(CohortSettings.model_validate({key: path}))


def _server(settings: ServerSettings) -> None:
    Client(settings).close()
    if settings.private_keys:
        keys.read(settings.private_keys)


def _writable_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise OSError(f"there is no folder {folder}. Make it, or mend the path")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(f"{folder} cannot be written. The user that runs the job must be able to")


def _state(url: str) -> None:
    """Opens one that is there; of one that is not, looks whether a first run could make it."""
    if State.is_there(url):
        State.open(url).close()
    else:
        _writable_folder(Path(State.place(url)).parent)
