"""Markdown from plain values."""

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A pipe table; a bar or line feed inside a cell would end it, so both are taken out of the way."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def bullets(items: Iterable[str]) -> str:
    """One item a line."""
    return "\n".join(f"- {item}" for item in items)


def section(title: str, *blocks: str, level: int = 2) -> str:
    """A heading and its blocks; empty blocks are left out."""
    return "\n\n".join([f"{'#' * level} {title}", *(block for block in blocks if block)])


def number(value: float, digits: int = 4) -> str:
    """Significant digits."""
    return f"{value:.{digits}g}"


def per_cent(share: float, digits: int = 0) -> str:
    """A share in per cent."""
    return f"{100 * share:.{digits}f} %"


def _cell(text: str) -> str:
    # "<=" needs the escape too: some readers take what follows "<" for a tag.
    return text.replace("\n", " ").replace("|", "\\|").replace("<", "&lt;")
