"""Skips lines of an export that hold no code we use, without decoding them.

An Observation gives rows only by a code that our tables have. JSON spells a code of letters and digits as these bytes, or with a
`\\u00..` escape. So a line is decoded only if it holds one of the codes, such an escape, or the name of another resource type that we
read. A line that does not end in `}` is decoded as well: it may be cut short. A line cut short right behind a `}` and before its code
is not noticed.

Hyperscan looks for all patterns at once, at about 2 GB/s. It is an extra (`fast`); without it every line is decoded.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from importlib.util import find_spec

import structlog

log = structlog.get_logger()

_PLAIN = re.compile(r"[A-Za-z0-9._-]+")
_TYPES = rb'"resourceType"[ \t\r]*:[ \t\r]*"(?:Patient|Condition|Procedure|Medication|DiagnosticReport|Specimen)'
_ESCAPED_ASCII = rb"\\u00[0-7]"
_CUT_SHORT = (rb"[^}\r]\n", rb"[^}]\r\n")

# Where nearly all lines hold a code, looking for it first costs more than it saves.
_DENSE = 0.5
_DENSE_BLOCKS = 31  # so many blocks are then taken as they are, before one is looked at again


def is_plain(code: str) -> bool:
    """Whether JSON has to spell a code as it is, but for `\\u00..` escapes."""
    return _PLAIN.fullmatch(code) is not None


def usable(codes: Collection[str] | None) -> frozenset[str] | None:
    """The codes, where lines without any of them can be skipped; None where every line has to be decoded."""
    if not codes or not all(map(is_plain, codes)) or not _installed():
        return None
    return frozenset(codes)


@cache
def _installed() -> bool:
    """Whether Hyperscan is there; said once where it is not."""
    there = find_spec("hyperscan") is not None
    if not there:
        log.info(
            "every_line_is_decoded", remedy="pip install 'osteoporosis-screener[fast]' skips lines of no use undecoded"
        )
    return there


class Prefilter:
    """Finds the lines to decode. One for each process: Hyperscan's working memory is not shared."""

    def __init__(self, codes: Collection[str]) -> None:
        """ValueError for a code that JSON need not spell as it is."""
        if not all(map(is_plain, codes)):
            raise ValueError("a code holds other characters than letters, digits, dots and dashes")
        import hyperscan  # noqa: PLC0415 - an extra

        patterns = [re.escape(code).encode() for code in codes]
        patterns += [_TYPES, _ESCAPED_ASCII, *_CUT_SHORT]
        self._database = hyperscan.Database()
        self._database.compile(
            expressions=patterns, ids=list(range(len(patterns))), flags=[hyperscan.HS_FLAG_DOTALL] * len(patterns)
        )
        self._dense = 0
        self._found: list[int] = []

    def lines(self, block: bytes) -> Iterable[bytes]:
        """The lines of a block to decode; a last line without an end is one of them."""
        if self._dense:
            self._dense -= 1
            return block.split(b"\n")
        found = list(self._to_decode(block))
        if sum(map(len, found)) > _DENSE * len(block):
            self._dense = _DENSE_BLOCKS
        return found

    def _to_decode(self, block: bytes) -> Iterator[bytes]:
        self._found.clear()
        self._database.scan(block, match_event_handler=self._on_match)
        self._found.sort()  # no order is promised
        end = -1
        for behind in self._found:
            at = behind - 1  # in the line, or its end
            if at <= end:
                continue
            start = block.rfind(b"\n", 0, at) + 1
            end = block.find(b"\n", at)
            if end < 0:
                break
            yield block[start:end]
        last = block.rfind(b"\n") + 1
        if last < len(block):
            yield block[last:]

    def _on_match(self, _pattern: int, _start: int, end: int, _flags: int, _context: object) -> None:
        self._found.append(end)
