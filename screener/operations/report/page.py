"""Writes the report as one file of HTML."""

from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from model.atomic import write_whole
from screener import __version__
from screener.base.errors import InputError
from screener.operations.report.blocks import Report


def html(report: Report) -> str:
    """The page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(
        (files("screener.operations.report") / "page.html.j2").read_text(encoding="utf-8")
    )
    return template.render(report=report, version=__version__).lstrip() + "\n"


def write(report: Report, file: Path) -> None:
    """The file appears whole or not at all, for its owner alone. InputError where it cannot be written."""
    try:
        write_whole(file, [html(report).encode()], private=True)
    except OSError as error:
        raise InputError(f"Cannot write {file.name}: {error.strerror}", "Check the path and its permissions") from error
