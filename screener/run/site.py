"""A site, opened once: the model, the tables with the site's rows, the policy, the objections and the state.

Every command that judges patients opens one, and judges by the rules that it gives.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple, Self

import msgspec
import structlog

from model import Artefact, ModelError, load_artefact
from screener import __version__
from screener.assessment.identity import Canonical
from screener.assessment.reconcile import Rules
from screener.assessment.resource import AssessmentWriter
from screener.assessment.suppression import Suppressions
from screener.assessment.texts import Texts
from screener.base.addresses import normalised
from screener.base.errors import ConfigurationError
from screener.clinical.dates import epoch_us
from screener.clinical.mapping import Mapper, MappingTables
from screener.clinical.policy import Policy
from screener.config.settings import Need, OutputSettings, Settings
from screener.config.tables import SiteTable, described, site_tables
from screener.run.options import Options
from screener.state import RunStart, State
from screener.stores.patient_lists import patients_of_file

log = structlog.get_logger()

StateAccess = Literal["none", "read", "write", "write_existing"]
NO_DEVICE = "Device/none"  # of rules by which nothing is written


class Names(NamedTuple):
    """The names under which the state remembers a source and a destination. `destination_in_words` is a host, or the name of a folder:
    without path, user and password."""

    source: str
    destination: str
    destination_in_words: str

    @property
    def watermark_prefix(self) -> str:
        """What all watermarks between this source and this destination begin with, whatever the configuration."""
        return f"{self.source} -> {self.destination}#"


Spelling = Callable[[str], str]


def spelling_known_to(state: State) -> Spelling:
    """Gives an address in the spelling in which the state first met it: identities, watermarks and the ledger go on where they were."""
    known: dict[str, str] = {}
    for address in state.addresses():
        known.setdefault(normalised(address), address)
    return lambda address: known.get(normalised(address), address)


def names_of(settings: Settings, options: Options, spelling: Spelling) -> Names:
    """The names of what a call reads and writes: the servers of the settings, or the folders of the call."""
    there = settings.written_to
    if options.engine == "spark":
        return Names(options.source_uri, options.destination_uri, _last_part(options.destination_uri))
    source = str(options.from_folder.resolve()) if options.from_folder else spelling(settings.server.base_url)
    if options.to_folder:
        folder = str(options.to_folder.resolve())
        return Names(source, folder, _last_part(folder))
    return Names(source, spelling(there.base_url), there.host)


def _last_part(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


class Digests(NamedTuple):
    """Hashes of what a run judges by. `selection` is of all that decides which patients are seen and how they are judged; the others are
    of its parts."""

    selection: str
    artefact: str
    tables: str
    policy: str


@dataclass(frozen=True, kw_only=True)
class Site:
    """What a site judges and writes by. `writer` knows no Device yet; `needs` says for each excluding type whether it must be readable."""

    artefact: Artefact
    tables: MappingTables
    mapper: Mapper
    site_tables: tuple[SiteTable, ...]
    writer: AssessmentWriter
    policy: Policy
    needs: Mapping[str, Need]
    names: Names
    digests: Digests
    state: State
    state_url: str
    opted_out: Path | None

    def rules(self, now: datetime, device: str = NO_DEVICE, run: str = "") -> Rules:
        """What is judged and written by at an instant. `device`: the reference to the algorithm's Device at the destination; `run`: the id
        of the run that writes.

        Objections and suppressions are read now. InputError for a list of patients who opted out that cannot be read.
        """
        writer = msgspec.structs.replace(self.writer, device=device, run=run)
        return Rules(self.policy, writer, epoch_us(now), self._suppressions())

    def rules_of_cohort(self, now: datetime) -> Rules:
        """What women of a cohort are judged by: as `rules`, but assessments that were taken back because of a run or a model do not keep
        her out."""
        rules = self.rules(now)
        return msgspec.structs.replace(rules, suppressions=rules.suppressions.of_patients())

    def _suppressions(self) -> Suppressions:
        opted_out = patients_of_file(self.opted_out, "opted_out") if self.opted_out else ()
        rows = self.state.suppressions(self.names.destination)
        of_runs = [self.state.identities_of(row.name) for row in rows if row.kind == "run"]
        return Suppressions(
            opted_out=frozenset(opted_out),
            patients=frozenset(row.name for row in rows if row.kind == "patient"),
            identities=frozenset().union(*of_runs),
            model=any(row.kind == "artefact" and row.name == self.artefact.name_and_version for row in rows),
        )

    def run_start(self, run_id: str, mode: str, started: str) -> RunStart:
        """A run's row in the ledger. `started`: an instant as FHIR writes it."""
        return RunStart(
            run_id=run_id,
            mode=mode,
            started=started,
            source=self.names.source,
            destination=self.names.destination,
            config_hash=self.digests.selection,
            artefact_hash=self.digests.artefact,
            code_map_hash=self.digests.tables,
            policy_hash=self.digests.policy,
            model_id=f"{self.artefact.id} {self.artefact.version}",
            software_version=__version__,
        )

    @property
    def watermark(self) -> str:
        """The name of the watermark and its retry set: of source, destination and all that decides who is seen and how."""
        return f"{self.names.watermark_prefix}{self.digests.selection}"

    @contextmanager
    def with_state_of_now(self) -> Iterator[Self]:
        """The same site with its state opened again, for a service that lives longer: whoever was suppressed a minute ago is left out."""
        with State.to_read(self.state_url) as state:
            yield replace(self, state=state)


def open_site(
    settings: Settings,
    stack: ExitStack,
    options: Options | None = None,
    *,
    state: StateAccess = "read",
    further: bool = False,
) -> Site:
    """Open a site; the stack closes it. ConfigurationError for a model or tables that cannot be used, StateError for the state.

    `state` "read" opens an empty one in memory where there is none, "write" makes it, "write_existing" is an error there; "none" is for a
    call that asks nothing of it. `further`:
    results of further predictors are read, whether the model uses them or not (for cohorts).
    """
    try:
        artefact = load_artefact(settings.model)
    except ModelError as error:
        raise ConfigurationError(f"The model cannot be used: {error}") from error
    tables = site_tables(settings.codes)
    reviewed = described(settings.codes)
    _say_unreviewed(reviewed)
    opened = stack.enter_context(_opened(settings.state.url, state))
    spelling = spelling_known_to(opened)
    source_system = settings.source_system or spelling(settings.server.base_url) or "local"
    return Site(
        artefact=artefact,
        tables=tables,
        mapper=Mapper(tables, use_preliminary=settings.codes.preliminary, further=further or bool(artefact.further)),
        site_tables=reviewed,
        writer=_writer(settings.output, source_system, artefact, reviewed),
        policy=settings.policy.policy(),
        needs=settings.exclusions.needs(),
        names=names_of(settings, options or Options(), spelling),
        digests=Digests(
            selection=settings.selection_digest(tables.digest(), artefact.checksum),
            artefact=artefact.checksum,
            tables=tables.digest(),
            policy=settings.selection_digest(),
        ),
        state=opened,
        state_url=settings.state.url,
        opted_out=settings.opted_out,
    )


def _opened(url: str, state: StateAccess) -> State:
    if state == "none":
        return State.in_memory()
    return State.to_read(url) if state == "read" else State.open(url, make=state == "write")


def _say_unreviewed(reviewed: tuple[SiteTable, ...]) -> None:
    unreviewed = [table.file for table in reviewed if not table.is_reviewed]
    if unreviewed:
        log.warning(
            "tables_not_reviewed", files=unreviewed, remedy="docs/codes-and-units.md says how a file names its reviewer"
        )


def _writer(
    output: OutputSettings, source_system: str, artefact: Artefact, reviewed: tuple[SiteTable, ...]
) -> AssessmentWriter:
    return AssessmentWriter(
        canonical=Canonical(output.canonical),
        artefact=artefact,
        tables=tuple((table.name, f"{table.version or 'unreviewed'} sha256:{table.sha256[:16]}") for table in reviewed),
        texts=Texts(output.language),
        source_system=source_system,
        fraction=output.fraction,
        prevalence=output.prevalence,
        tags=_codings(output.tag),
        labels=_codings(output.label),
    )


def _codings(text: str) -> tuple[tuple[str, str], ...]:
    """SYSTEM|CODE as the configuration has it; none where it is empty."""
    system, _, code = text.partition("|")
    return ((system, code),) if text else ()
