"""The exception tree: everything that a user may be shown, with the exit code that goes with it.

A message says what happened, where, and what to do. It never holds patient data, tokens or full URLs. The one place
that prints these errors is `screener.commands.cli`.
"""

import errno
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """What the process tells its caller."""

    DONE = 0
    OTHER = 1
    USAGE = 2
    SOME_PATIENTS_FAILED = 3
    SERVER = 4
    LEASE_HELD = 5
    DEADLINE = 6
    TOO_LARGE = 7
    INTERRUPTED = 130


class ScreenerError(Exception):
    """Base of all errors that are shown without a traceback."""

    exit_code = ExitCode.OTHER

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}. {self.remedy}" if self.remedy else self.what


class ConfigurationError(ScreenerError):
    """The configuration, a flag or a file of the site's cannot be used."""

    exit_code = ExitCode.USAGE


class InputError(ScreenerError):
    """A folder or a file given as source or destination cannot be used."""

    exit_code = ExitCode.USAGE


class Interrupted(ScreenerError):
    """Ctrl-C, outside a run that ends in order."""

    exit_code = ExitCode.INTERRUPTED


class SummaryNotWritten(ScreenerError):
    """The run came to its end, and only the file of its summary could not be written."""


class ListNotWritten(ScreenerError):
    """The run came to its end, and only its list of patients could not be written."""


class ReportNotWritten(ScreenerError):
    """The run came to its end, and only its report could not be written."""


class AuditNotWritten(ScreenerError):
    """The run came to its end, and only its AuditEvent could not be written."""


class ServerError(ScreenerError):
    """The FHIR server could not be reached, refused, or answered what it must not."""

    exit_code = ExitCode.SERVER


class NotAsPromised(ServerError):
    """A file of an export is not what the manifest says: the manifest is asked for again."""


class RequestRefused(ServerError):
    """The server does not take this request (4xx): a parameter that it does not know, most often."""

    def __init__(self, what: str, remedy: str = "", *, status: int = 0) -> None:
        super().__init__(what, remedy)
        self.status = status


class NotWhole(ServerError):
    """The server says itself that its answer is not all that there is."""


class AuthorisationError(ServerError):
    """401 or 403."""


class NotAuthenticated(AuthorisationError):
    """401: it says nothing of the resource type that was asked for."""


def is_about_the_type(error: Exception) -> bool:
    """Whether a server's error says that a resource type cannot be read (403, another refusal of the request, an answer that is not whole),
    and not that the token has expired or that the server is unwell."""
    return isinstance(error, AuthorisationError | RequestRefused | NotWhole) and not isinstance(error, NotAuthenticated)


class PageExpired(ServerError):
    """410 on a page link: the search must be asked again."""


class LeaseHeld(ScreenerError):
    """Another run holds the lease."""

    exit_code = ExitCode.LEASE_HELD


class LeaseLost(ScreenerError):
    """This run's lease was taken over while it worked: it stops before it writes again."""

    exit_code = ExitCode.LEASE_HELD


class StateError(ScreenerError):
    """The state database cannot be used."""

    exit_code = ExitCode.USAGE


class AccountError(ScreenerError):
    """A run cannot account for every patient that it saw: its figures must not be believed."""


class UnforeseenError(ScreenerError):
    """A fault of the program itself: the type and the place of what was raised, never its text, which may quote a patient."""

    @classmethod
    def of(cls, error: BaseException) -> "UnforeseenError":
        """From the exception as it was caught."""
        places = traceback.extract_tb(error.__traceback__)
        where = f" in {Path(places[-1].filename).name}, line {places[-1].lineno}" if places else ""
        return cls(
            f"The program met an error of its own: {type(error).__name__}{where}",
            "What was written is right and the watermark has not moved; please report this line",
        )


class NoRoomError(InputError):
    """A disk, a quota or a limit on the size of files leaves no room for what must be written."""


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def leaves_no_room(error: OSError) -> bool:
    """Whether a write failed for want of space."""
    return error.errno in _NO_ROOM


# The extra that brings a package, where an import is in no `of_extra` block.
_EXTRA = {"matplotlib": "report", "pyarrow": "report", "statsmodels": "report"}


def missing_package_error(package: str, extra: str, otherwise: str = "") -> ConfigurationError:
    """The error of a package that only an extra brings. `otherwise`: what else can be done."""
    return ConfigurationError(
        f"This needs the package {package}, which is not installed",
        f"Install it: pip install 'osteoporosis-screener[{extra}]'{f', or {otherwise}' if otherwise else ''}",
    )


@contextmanager
def of_extra(extra: str, otherwise: str = "") -> Iterator[None]:
    """For imports from the packages of an extra: ConfigurationError where one is not installed."""
    try:
        yield
    except ImportError as error:
        raise missing_package_error(error.name or "", extra, otherwise) from error


def as_screener_error(error: BaseException) -> ScreenerError:
    """The error that people see of any exception."""
    if isinstance(error, ScreenerError):
        return error
    if isinstance(error, OSError) and leaves_no_room(error):
        named = f" {Path(error.filename).name}" if isinstance(error.filename, str) else ""
        return NoRoomError(
            f"There is no room to write{named}: {error.strerror}",
            "Make room, also where TMPDIR points, and run again: what is whole is kept and nothing is half written",
        )
    if isinstance(error, ModuleNotFoundError) and (extra := _EXTRA.get((error.name or "").partition(".")[0])):
        return missing_package_error(error.name or "", extra)
    return UnforeseenError.of(error)
