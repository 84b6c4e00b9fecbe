"""The site's own tables of codes, units, exclusions and labels, from the files that the settings name.

Lines at the top of a file that begin with # say who reviewed it:

    # version: 2026-03
    # reviewed by: Dr. A. Example, laboratory medicine
    # reviewed: 2026-03-14
"""

import csv
import hashlib
import io
from datetime import date
from pathlib import Path

import msgspec

from screener.base.errors import ConfigurationError
from screener.clinical.labels import LabelTables
from screener.clinical.mapping import MappingTables
from screener.config.settings import CodeSettings, CohortSettings

_TABLES = ("codes", "units", "exclusions", "expanded", "systems")
_SAID = ("version", "reviewed by", "reviewed")
_REMEDY = "Write `# version: ...`, `# reviewed by: ...` and `# reviewed: YYYY-MM-DD` above its first line"


class SiteTable(msgspec.Struct, frozen=True):
    """One of the site's own tables, and who reviewed it: "" for what the file does not say. `sha256` is that of the whole file."""

    name: str
    file: str
    sha256: str
    version: str = ""
    reviewed_by: str = ""
    reviewed: str = ""

    @property
    def is_reviewed(self) -> bool:
        """Whether somebody says that it is right, by name and day."""
        return bool(self.version and self.reviewed_by and self.reviewed)


def site_tables(settings: CodeSettings) -> MappingTables:
    """The shipped tables, extended and overridden by the site's rows. ConfigurationError names file and line."""
    return MappingTables.default(
        extra_codes=_rows(settings.codes),
        extra_units=_rows(settings.units),
        extra_exclusions=_rows(settings.exclusions),
        expanded=_rows(settings.expanded),
        named=_rows(settings.systems),
        whole_blood=settings.whole_blood,
    )


def described(settings: CodeSettings) -> tuple[SiteTable, ...]:
    """The site's tables by name. ConfigurationError for a day of review that is no date, and for a table that nobody reviewed where the
    settings refuse it."""
    found = tuple(_described(name, path) for name in _TABLES if (path := getattr(settings, name)) is not None)
    unreviewed = [table for table in found if not table.is_reviewed]
    if unreviewed and settings.unreviewed == "refuse":
        names = ", ".join(table.file for table in unreviewed)
        raise ConfigurationError(f"Nobody has reviewed {names} (codes.unreviewed is refuse)", _REMEDY)
    return found


def label_tables(settings: CohortSettings) -> LabelTables:
    """The codes of T-scores and diagnoses, extended by the site's rows. ConfigurationError names file and line."""
    return LabelTables.default(_rows(settings.t_scores), _rows(settings.diagnoses))


def _described(name: str, path: Path) -> SiteTable:
    content = _content(path)
    said = dict.fromkeys(_SAID, "")
    for line in content.splitlines():
        if not line.startswith("#"):
            break
        key, _, value = line.lstrip("# ").partition(":")
        if key.strip().lower() in said:
            said[key.strip().lower()] = value.strip()
    if said["reviewed"]:
        try:
            date.fromisoformat(said["reviewed"])
        except ValueError:
            raise ConfigurationError(
                f"{path.name}: `# reviewed: {said['reviewed']}` is no day", "Write it as 2026-03-14"
            ) from None
    digest = hashlib.sha256(content.encode()).hexdigest()
    return SiteTable(name, path.name, digest, said["version"], said["reviewed by"], said["reviewed"])


def _rows(path: Path | None) -> list[dict[str, str]]:
    if path is None:
        return []
    lines = _content(path).splitlines(keepends=True)
    while lines and lines[0].startswith("#"):
        lines.pop(0)
    try:
        return [dict(row) for row in csv.DictReader(io.StringIO("".join(lines), newline=""))]
    except csv.Error as error:
        raise _cannot_read(path, error) from error


def _content(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError) as error:
        raise _cannot_read(path, error) from error


def _cannot_read(path: Path, error: Exception) -> ConfigurationError:
    why = error.strerror if isinstance(error, OSError) else str(error)
    return ConfigurationError(f"Cannot read {path.absolute()}: {why}", "Check its path in the configuration")
