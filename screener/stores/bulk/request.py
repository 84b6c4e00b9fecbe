"""The export that a run needs."""

from collections.abc import Collection, Mapping, Sequence
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
    # All Specimens of a hospital are many: an export has them where the site says that it wants them.
    excluding = [kind for kind, need in needs.items() if need != "off" and (kind, need) != ("Specimen", "if_offered")]
    wanted = tuple(types) or ("Patient", "Observation", *excluding, "Medication")
    return ExportRequest(
        level=level,
        types=tuple(sorted(set(wanted))),
        since=instant_text(since) if since else "",
        filters=tuple(_filters(mapper, wanted)) if mapper and "Observation" in wanted else (),
    )


def _filters(mapper: Mapper, types: Collection[str]) -> list[str]:
    if mapper.texts_for(Analyte):
        return []
    codes = ",".join((*mapper.codes_for(Analyte, refused=True), *mapper.further_tokens()))
    reports = ",".join(mapper.tokens_for("DiagnosticReport"))
    return [
        f"Observation?code={codes}",
        f"Observation?component-code={codes}",
        *([f"DiagnosticReport?code={reports}"] if "DiagnosticReport" in types else []),
    ]
