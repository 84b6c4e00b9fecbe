"""Options and parameter types that several commands share."""

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import click

if TYPE_CHECKING:
    from structlog.typing import EventDict

    from screener.config.loading import Found
    from screener.config.settings import Settings

Least = Literal["debug", "info", "warning", "error"]  # level of log events
F = TypeVar("F", bound=Callable[..., Any])


class Instant(click.ParamType[datetime]):
    """An ISO 8601 instant with its zone, e.g. 2026-01-31T02:00:00Z."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """`value` as an aware datetime."""
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no ISO 8601 instant; write e.g. 2026-01-31T02:00:00Z", param, ctx)
        if instant.tzinfo is None:
            self.fail(f"{value!r} has no time zone; add Z for UTC, or an offset like +01:00", param, ctx)
        return instant.astimezone(UTC)


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


class Common(NamedTuple):
    """The options of configuration and logging that a command was given."""

    config_file: Path | None
    profile: str | None
    log_format: str
    verbose: bool
    quiet: bool

    def start_logging(self, least: "Least" = "info") -> None:
        """Events on standard error, as the options ask for; without them from the level `least`."""
        start_logging(self.log_format, "debug" if self.verbose else "warning" if self.quiet else least)

    def examined(self, least: "Least" = "info") -> "Found":
        """The configuration with all its problems, for a command that names them. Starts logging."""
        from screener.config.loading import examine

        self.start_logging(least)
        return examine(self.config_file, self.profile)

    def settings(self, *, only_tag: str | None = None) -> "Settings":
        """Start logging, and read the configuration. `only_tag` wins over the configuration's."""
        from screener.config.loading import load

        self.start_logging()
        return load(self.config_file, self.profile, {"server": {"only_tag": only_tag}} if only_tag else {})


def settings_options(command: Callable[..., None]) -> Callable[..., None]:
    """--config, --profile, --log-format, --verbose, given to the command as `common`."""

    @wraps(command)
    def with_common(
        config_file: Path | None, profile: str | None, log_format: str, verbose: bool, quiet: bool, **given: object
    ) -> None:
        if verbose and quiet:
            raise click.UsageError("--verbose and --quiet exclude each other")
        command(Common(config_file, profile, log_format, verbose, quiet), **given)

    wrapped: Callable[..., None] = with_common
    options = [
        click.option(
            "--config", "config_file", type=click.Path(path_type=Path), help="TOML file [screener.toml if there]."
        ),
        click.option("--profile", help="A profile of the file, or hapi-sandbox."),
        click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True),
        click.option("-v", "--verbose", is_flag=True, help="Say more."),
        click.option("-q", "--quiet", is_flag=True, help="Say only what went wrong, and no progress."),
    ]
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def least_count_option(what: str) -> Callable[[F], F]:
    """--least-count: what is hidden below it."""
    from screener.base.small_counts import LEAST

    return click.option("--least-count", type=click.IntRange(1, 1000), default=LEAST, show_default=True, help=what)


def from_folder_option(command: F) -> F:
    """--from: a folder in place of the server."""
    kind = click.Path(path_type=Path)
    return click.option("--from", "from_folder", type=kind, help="Read this folder of NDJSON, not the server.")(command)


def only_tag_option(command: F) -> F:
    """--only-tag."""
    help_ = "Only patients and resources that carry this tag."
    return click.option("--only-tag", metavar="SYSTEM|CODE", help=help_)(command)


def now_option(command: F) -> F:
    """--now: the instant to judge at."""
    return click.option("--now", type=Instant(), help="The instant to judge at [the server's clock].")(command)


def start_logging(log_format: str, least: Least = "info") -> None:
    """Events on standard error, one line each; never patient data (no event is given any). `least`: the lowest level that is shown."""
    import structlog

    def shorten(_: object, __: str, event: "EventDict") -> "EventDict":
        """On a terminal the first letters of the run's id are enough."""
        if "run_id" in event:
            event["run_id"] = str(event["run_id"])[:8]
        return event

    last = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR"))
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            *(() if log_format == "json" else (shorten,)),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def safe(text: str) -> str:
    """What a sender wrote, without any meaning to the terminal."""
    from rich.markup import escape

    return escape("".join(c if c.isprintable() else "?" for c in text))
