"""Compares a run's difference with the site's limits and with earlier runs, when all is decided and nothing is written."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog

from screener.config.settings import LimitSettings
from screener.run.figures import Figures
from screener.run.limits import Exceeded, History, exceeded
from screener.stores.protocols import Destination, Mode

log = structlog.get_logger()


class Showing(Protocol):
    """A server as source."""

    def shows(self, kind: str) -> bool | None:
        """Whether it shows any resource of a type; None where it does not let us ask."""


class Comparison:
    """What a run is compared with, and what came of it. `accepted`: the caller lets a large change through."""

    def __init__(self, limits: LimitSettings, *, accepted: bool, to_folder: bool) -> None:
        self._limits, self._accepted, self._to_folder = limits, accepted, to_folder
        self._history = History()
        self.exceeded: list[Exceeded] = []
        # Set as they are opened.
        self.source: Showing | None = None
        self.destination: Destination | None = None
        self.unchecked: Mapping[str, str] = {}  # of the source's reading: grows while it is read

    @property
    def earlier(self) -> Sequence[Figures]:
        """The runs that it was compared with."""
        return self._history.runs

    @property
    def withheld(self) -> bool:
        """Whether the difference is larger than the limits allow, and nobody said that it may be."""
        return bool(self.exceeded) and not self._accepted

    def compare(self, now: Figures, mode: Mode, history: History) -> None:
        """Fill `exceeded`, and say each limit."""
        self._history = history
        self.exceeded = exceeded(
            now, mode, history, self._limits, self._shows, unchecked=self.unchecked, folder=self._to_folder
        )
        for found in self.exceeded:
            log.warning("limit_exceeded", limit=found.limit, found=found.words, accepted=self._accepted)

    def newly_unchecked(self) -> bool:
        """Whether an excluding type could not be read that the last run did read: perhaps it can be tomorrow."""
        before = self._history.unchecked
        newly = set(self.unchecked) - before if before is not None else set()
        if newly:
            log.warning(
                "type_no_longer_readable",
                types=sorted(newly),
                remedy="assessments say that it was not checked; the next night looks at these patients again",
            )
        return bool(newly)

    def _shows(self, kind: str) -> bool | None:
        """Whether the server shows any resource of a type (of RiskAssessments: any of ours); None where there is no server to ask."""
        if kind == "RiskAssessment":
            return None if self.destination is None else next(self.destination.patients(), None) is not None
        return None if self.source is None else self.source.shows(kind)
