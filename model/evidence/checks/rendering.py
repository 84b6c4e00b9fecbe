"""The checks as plain text."""

from collections.abc import Sequence

from model.evidence.checks.result import Check, Interval

_HEADINGS = ("table", "row", "quantity", "published", "recomputed", "agrees")
_VERDICTS = {True: "yes", False: "NO", None: "-"}
_INDENT = "    "


def render(found: Sequence[Check], *, every: bool = True) -> str:
    """A table, one line a check and its reason indented below (or only those that do not agree); then how many agree.

    Ends with a line feed.
    """
    shown_ones = [check for check in found if every or check.agrees is False]
    lines = [_HEADINGS, *(_cells(check) for check in shown_ones)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEADINGS))]
    text = [_line(lines[0], widths), _line(tuple("-" * width for width in widths), widths)]
    for check, cells in zip(shown_ones, lines[1:], strict=True):
        text.append(_line(cells, widths))
        if check.why:
            text.append(_INDENT + check.why)
    return "\n".join([*text, "", _summary(found)]) + "\n"


def shown(value: str | float | Interval) -> str:
    """A recomputed figure with four digits, an interval with both of its ends."""
    if isinstance(value, Interval):
        return f"{value.low:.4g} to {value.high:.4g}"
    return value if isinstance(value, str) else f"{value:.4g}"


def _cells(check: Check) -> tuple[str, ...]:
    unit = "" if check.unit in ("", "1") else f" [{check.unit}]"
    quantity = check.quantity + unit
    return check.table, check.row, quantity, check.published, shown(check.recomputed), _VERDICTS[check.agrees]


def _line(cells: tuple[str, ...], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _summary(found: Sequence[Check]) -> str:
    agree, differ = (sum(check.agrees is verdict for check in found) for verdict in (True, False))
    return f"{len(found)} checks: {agree} agree, {differ} do not, {len(found) - agree - differ} have nothing printed to compare."
