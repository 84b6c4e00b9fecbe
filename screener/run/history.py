"""Earlier runs between the same source and destination, from the ledger."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, takewhile

from screener.run.figures import Figures, kept
from screener.run.limits import History
from screener.state import RunRow, RunStart, State
from screener.stores.protocols import Mode

_LOOKED_AT = 200  # rows of the ledger
_COMPARED_WITH = 5  # runs of the same kind
_PARTS = {
    "artefact_hash": "the model",
    "code_map_hash": "the code map, the units or the value sets",
    "policy_hash": "the policy, the exclusions or server.only_tag",
}


def history(state: State, run: RunStart) -> History:
    """What `run` is compared with."""
    between = state.runs_between(run.source, run.destination, _LOOKED_AT)
    since_purge = [row for row in takewhile(lambda row: row.start.mode != "purge", between) if _before(row, run)]
    rows = [row for row in since_purge if _counts(row)]
    backfills = [row for row in rows if row.start.mode == Mode.BACKFILL]
    changed = [name for part, name in _PARTS.items() if rows and getattr(rows[0].start, part) != getattr(run, part)]
    alike = [row for row in rows if row.start.config_hash == run.config_hash]
    # Lists are compared with lists, as far as there are some.
    candidates = since_purge if run.mode == Mode.NAMED else rows
    of_this_kind = [r for r in candidates if r.start.mode == run.mode and r.start.config_hash == run.config_hash]
    writing = [row for row in of_this_kind if row is not (backfills[-1] if backfills else None)]
    return History(
        _figures(of_this_kind) or _figures([row for row in alike if row.start.mode == Mode.BACKFILL]),
        writing=_figures(writing),
        changed=changed,
        backfilled=bool(backfills),
        unchecked=frozenset(_unchecked(rows[0])) if rows else None,
    )


def _before(row: RunRow, run: RunStart) -> bool:
    return row.start.run_id != run.run_id and row.start.started <= run.started


def _counts(row: RunRow) -> bool:
    """Whether it was a run over everyone of its mode."""
    return row.start.mode in (Mode.NIGHTLY, Mode.BACKFILL) and bool((row.summary or {}).get("whole", True))


def _figures(rows: Sequence[RunRow]) -> list[Figures]:
    """Of the newest runs, back to one whose large change was accepted: what was before it is no longer the rule."""
    found = []
    for row in islice(rows, _COMPARED_WITH):
        figures = kept(row.summary)
        if figures is not None:
            found.append(figures)
        if row.summary and row.summary.get("accepted_large_change"):
            break
    return found


def _unchecked(row: RunRow) -> Iterable[str]:
    found = (row.summary or {}).get("exclusions_not_checked")
    return found if isinstance(found, Mapping) else ()
