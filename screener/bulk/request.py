"""The export that a run needs."""

from collections.abc import Sequence
from datetime import datetime

from screener.bulk.protocol import Request
from screener.clinical.mapping import Mapper
from screener.clinical.records import Analyte
from screener.config.settings import Settings
from screener.config.tables import site_tables
from screener.fhir.time import instant_text


def needed(
    settings: Settings, *, types: Sequence[str] = (), since: datetime | None = None, relevant: bool = False
) -> Request:
    """The types that a run reads (all but those that are switched off), or those given. `relevant` narrows Observations to our codes;
    what a site maps by text has no code, so that nothing is narrowed there.
    """
    excluding = [kind for kind, need in settings.exclusions.needs().items() if need != "off"]
    wanted = tuple(types) or ("Patient", "Observation", *excluding, "Medication")
    return Request(
        level=settings.bulk.level,
        types=tuple(sorted(set(wanted))),
        since=instant_text(since) if since else "",
        filters=tuple(_filters(Mapper(site_tables(settings.codes)))) if relevant and "Observation" in wanted else (),
    )


def _filters(mapper: Mapper) -> list[str]:
    if mapper.texts_for(Analyte):
        return []
    codes = ",".join((*mapper.codes_for(Analyte, refused=True), *mapper.further_tokens()))
    return [f"Observation?code={codes}", f"Observation?component-code={codes}"]
