"""The export that a run needs."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from screener.clinical.mapping import Mapper
from screener.clinical.records import Analyte
from screener.fhir.time import instant_text
from screener.stores.bulk.protocol import ExportRequest


def needed(
    needs: Mapping[str, str],
    level: str,
    *,
    types: Sequence[str] = (),
    since: datetime | None = None,
    mapper: Mapper | None = None,
) -> ExportRequest:
    """The types that a run reads (all but those that are switched off in `needs`), or those given. `level`: see ExportRequest. `mapper` narrows
    Observations to its codes; what a site maps by text has no code, so that nothing is narrowed there.
    """
    excluding = [kind for kind, need in needs.items() if need != "off"]
    wanted = tuple(types) or ("Patient", "Observation", *excluding, "Medication")
    return ExportRequest(
        level=level,
        types=tuple(sorted(set(wanted))),
        since=instant_text(since) if since else "",
        filters=tuple(_filters(mapper)) if mapper and "Observation" in wanted else (),
    )


def _filters(mapper: Mapper) -> list[str]:
    if mapper.texts_for(Analyte):
        return []
    codes = ",".join((*mapper.codes_for(Analyte, refused=True), *mapper.further_tokens()))
    return [f"Observation?code={codes}", f"Observation?component-code={codes}"]
