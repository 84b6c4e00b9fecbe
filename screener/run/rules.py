"""What a run judges and writes by: the model, the tables with the site's rows, and the rules made of them."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple

import msgspec
import structlog

from model import Artefact, ModelError, load_artefact
from screener.assessment.identity import Canonical
from screener.assessment.reconcile import Rules
from screener.assessment.resource import AssessmentWriter
from screener.assessment.suppression import Suppressions
from screener.assessment.texts import Texts
from screener.clinical.dates import epoch_us
from screener.clinical.mapping import Mapper, MappingTables
from screener.config.settings import Settings
from screener.config.tables import SiteTable, described, site_tables
from screener.errors import ConfigurationError
from screener.state import State, SuppressionRow
from screener.stores.patient_lists import patients_of_file

log = structlog.get_logger()

SuppressedBy = tuple[SuppressionRow, Collection[str]]  # with the identities of the assessments of a run


class ModelAndTables(NamedTuple):
    """The model, the tables with the site's rows, the mapper made of them, and who reviewed the site's own tables."""

    artefact: Artefact
    tables: MappingTables
    mapper: Mapper
    site_tables: tuple[SiteTable, ...] = ()

    def selection_digest(self, settings: Settings) -> str:
        """A hash of all that decides which patients are seen and how they are judged."""
        return settings.selection_digest(self.tables.digest(), self.artefact.checksum)


def load_model_and_tables(settings: Settings, *, for_cohort: bool = False) -> ModelAndTables:
    """The model and the tables. `for_cohort`: results of further predictors are read, whether the model uses them or not.
    ConfigurationError for what cannot be used."""
    try:
        artefact = load_artefact(settings.model)
    except ModelError as error:
        raise ConfigurationError(f"The model cannot be used: {error}") from error
    tables = site_tables(settings.codes)
    mapper = Mapper(tables, use_preliminary=settings.codes.preliminary, further=for_cohort or bool(artefact.further))
    site = described(settings.codes)
    unreviewed = [table.file for table in site if not table.is_reviewed]
    if unreviewed:
        log.warning(
            "tables_not_reviewed", files=unreviewed, remedy="docs/codes-and-units.md says how a file names its reviewer"
        )
    return ModelAndTables(artefact, tables, mapper, site)


def assessment_writer(settings: Settings, loaded: ModelAndTables) -> AssessmentWriter:
    """Who writes the assessments, and in which words; the Device is not known yet."""
    output = settings.output
    return AssessmentWriter(
        canonical=Canonical(output.canonical),
        artefact=loaded.artefact,
        tables=tuple(
            (table.name, f"{table.version or 'unreviewed'} sha256:{table.sha256[:16]}") for table in loaded.site_tables
        ),
        texts=Texts(output.language),
        source_system=settings.identity_source,
        fraction=output.fraction,
        prevalence=output.prevalence,
        tags=_codings(output.tag),
        labels=_codings(output.label),
    )


def _codings(text: str) -> tuple[tuple[str, str], ...]:
    """SYSTEM|CODE as the configuration has it; none where it is empty."""
    system, _, code = text.partition("|")
    return ((system, code),) if text else ()


def make_rules(
    settings: Settings, writer: AssessmentWriter, device: str, now: datetime, suppressed: Iterable[SuppressedBy] = ()
) -> Rules:
    """What the run judges and writes by. `device`: the reference to the algorithm's Device at the destination. `suppressed`: what
    holds there. InputError for a list of patients who opted out that cannot be read."""
    with_device = msgspec.structs.replace(writer, device=device)
    opted_out = patients_of_file(settings.opted_out, "opted_out") if settings.opted_out else ()
    rows = list(suppressed)
    suppressions = Suppressions(
        opted_out=frozenset(opted_out),
        patients=frozenset(row.name for row, _ in rows if row.kind == "patient"),
        identities=frozenset().union(*(identities for _, identities in rows)),
        model=any(row.kind == "artefact" and row.name == model_name(writer.artefact) for row, _ in rows),
    )
    return Rules(settings.policy.policy(), with_device, epoch_us(now), suppressions)


def model_name(artefact: Artefact) -> str:
    """A model's id and version, as suppressions name it."""
    return f"{artefact.id}@{artefact.version}"


def suppressed_at(state: State, destination: str) -> list[SuppressedBy]:
    """What holds at a destination."""
    rows = state.suppressions(destination)
    return [(row, state.identities_of(row.name) if row.kind == "run" else ()) for row in rows]
