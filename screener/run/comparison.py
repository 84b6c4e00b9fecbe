"""What a run's difference was compared with, when all was decided and nothing written, and what came of it."""

from collections.abc import Sequence
from typing import Protocol

import msgspec
import structlog

from screener.config.settings import LimitSettings
from screener.run.figures import Figures
from screener.run.limits import Compared, Exceeded, History, Shows, exceeded
from screener.stores.protocols import Destination

log = structlog.get_logger()


class Showing(Protocol):
    """A server as source."""

    def shows(self, kind: str) -> bool | None:
        """Whether it shows any resource of a type; None where it does not let us ask."""


class Comparison(msgspec.Struct, frozen=True):
    """`exceeded`: the limits that the difference exceeds; `accepted`: the caller lets it through all the same. `newly_unchecked`: excluding
    types that could not be read, and that the last run did read. `earlier`: the runs that it was compared with."""

    exceeded: tuple[Exceeded, ...] = ()
    accepted: bool = False
    newly_unchecked: tuple[str, ...] = ()
    earlier: Sequence[Figures] = ()

    @property
    def withheld(self) -> bool:
        """Whether nothing may be written: the difference is larger than the limits allow, and nobody said that it may be."""
        return bool(self.exceeded) and not self.accepted


def compare(run: Compared, history: History, limits: LimitSettings, shows: Shows) -> Comparison:
    """Compare, and log each limit that is exceeded. `shows`: see `shows_of`."""
    found = exceeded(run, history, limits, shows)
    for one in found:
        log.warning("limit_exceeded", limit=one.limit, found=one.words, accepted=run.accepted)
    before = history.unchecked
    newly = sorted(set(run.unchecked) - before) if before is not None else []
    return Comparison(tuple(found), run.accepted, tuple(newly), history.runs)


def shows_of(source: Showing | None, destination: Destination | None) -> Shows:
    """Whether the source shows any resource of a type (of RiskAssessments: the destination any of ours); None where there is no server to
    ask."""

    def shows(kind: str) -> bool | None:
        if kind == "RiskAssessment":
            return None if destination is None else next(destination.patients(), None) is not None
        return None if source is None else source.shows(kind)

    return shows
