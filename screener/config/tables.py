"""The site's own tables of codes, units, exclusions and labels, from the files that the settings name."""

import csv
from pathlib import Path

from screener.clinical.labels import LabelTables
from screener.clinical.mapping import MappingTables
from screener.config.settings import CodeSettings, CohortSettings
from screener.errors import ConfigurationError


def site_tables(settings: CodeSettings) -> MappingTables:
    """The shipped tables, extended and overridden by the site's rows. ConfigurationError names file and line."""
    return MappingTables.default(
        extra_codes=_rows(settings.codes),
        extra_units=_rows(settings.units),
        extra_exclusions=_rows(settings.exclusions),
        expanded=_rows(settings.expanded),
        whole_blood=settings.whole_blood,
    )


def label_tables(settings: CohortSettings) -> LabelTables:
    """The codes of T-scores and diagnoses, extended by the site's rows. ConfigurationError names file and line."""
    return LabelTables.default(_rows(settings.t_scores), _rows(settings.diagnoses))


def _rows(path: Path | None) -> list[dict[str, str]]:
    if path is None:
        return []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return [dict(row) for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"Cannot read {path.name}: {error}", "Check its path in the configuration") from error
