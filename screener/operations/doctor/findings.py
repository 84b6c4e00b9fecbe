"""What the doctor found, and how bad it is."""

from collections.abc import Callable
from enum import StrEnum

import msgspec

from screener.base.errors import ExitCode, ScreenerError


class Level(StrEnum):
    """Green: in order. Yellow: a run works, but somebody should look. Red: a run would not work."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at. `remedy` is "" where there is nothing to do; `exit_code` that of a run that would stop by it."""

    check: str
    level: Level
    found: str
    remedy: str = ""
    exit_code: int = 0


class Findings:
    """Collects findings, and tells each as it comes."""

    def __init__(self, tell: Callable[[Finding], None]) -> None:
        self._tell = tell
        self.all: list[Finding] = []

    def green(self, check: str, found: str) -> None:
        """In order."""
        self._add(Finding(check, Level.GREEN, found))

    def yellow(self, check: str, found: str, remedy: str) -> None:
        """A run works, but somebody should look."""
        self._add(Finding(check, Level.YELLOW, found, remedy))

    def red(self, check: str, found: str, remedy: str, exit_code: ExitCode = ExitCode.USAGE) -> None:
        """A run would not work."""
        self._add(Finding(check, Level.RED, found, remedy, int(exit_code)))

    def error(self, check: str, error: ScreenerError) -> None:
        """What a run would stop with."""
        self.red(check, error.what, error.remedy, error.exit_code)

    def _add(self, finding: Finding) -> None:
        self.all.append(finding)
        self._tell(finding)

    @property
    def exit_code(self) -> int:
        """0 where nothing is red; 2 where the configuration has to be mended first; else that of the first red finding."""
        codes = [finding.exit_code for finding in self.all if finding.level is Level.RED]
        return int(ExitCode.USAGE) if ExitCode.USAGE in codes else next(iter(codes), 0)
