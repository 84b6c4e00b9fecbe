"""What several commands share: the options of configuration and logging, and how a run is shown."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class FileToWrite(click.Path):
    """A file to write, whose folder is there: said before the work, not after it."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False, writable=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; fails where there is no such folder."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        folder = path.absolute().parent
        if not folder.is_dir():
            self.fail(f"there is no folder {folder.name} to write {path.name} into. Make it first", param, ctx)
        return path


def settings_options(command: F) -> F:
    """--config, --profile, --log-format, --verbose."""
    options = [
        click.option(
            "--config", "config_file", type=click.Path(path_type=Path), help="TOML file [screener.toml if there]."
        ),
        click.option("--profile", help="A profile of the file, or hapi-sandbox."),
        click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True),
        click.option("-v", "--verbose", is_flag=True, help="Say more."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def start_logging(log_format: str, *, verbose: bool = False) -> None:
    """Events on standard error, one line each; never patient data (no event is given any)."""
    import structlog

    last = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
