"""The site's own tables of codes, units and exclusions, from the files that the settings name."""

import csv
from pathlib import Path

from screener.clinical.mapping import MappingTables
from screener.config import CodeSettings
from screener.errors import ConfigurationError


def site_tables(settings: CodeSettings) -> MappingTables:
    """The shipped tables, extended and overridden by the site's rows. ConfigurationError names file and line."""
    return MappingTables.default(
        extra_codes=_rows(settings.codes),
        extra_units=_rows(settings.units),
        extra_exclusions=_rows(settings.exclusions),
    )


def _rows(path: Path | None) -> list[dict[str, str]]:
    if path is None:
        return []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return [dict(row) for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"Cannot read {path.name}: {error}", "Check [codes] in the configuration") from error
