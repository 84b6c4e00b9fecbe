"""All that can be set: sections, defaults, limits. Unknown keys are errors: a misspelt limit must not be ignored in silence."""

import hashlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, SecretStr, field_validator

from screener.assessment.identity import Canonical
from screener.assessment.texts import available
from screener.base.small_counts import LEAST
from screener.config.policy import PolicySettings
from screener.config.servers import DestinationSettings, Section, ServerSettings

Need = Literal["required", "optional", "if_offered", "off"]
# What is written beside assessments and the Device: resource type, interactions, the setting that asks for it.
OptionalWrites = tuple[tuple[str, tuple[str, ...], str], ...]
_SECRETS = ("token", "password", "credential_command")


class StateSettings(Section):
    """Where the job remembers its watermark, lease and ledger. What losing it costs is in docs: How a run works."""

    # Not in the repr: a PostgreSQL address holds a password.
    url: str = Field(
        "sqlite:///screener-state.sqlite", repr=False, description="SQLAlchemy URL: sqlite or postgresql+psycopg"
    )
    lease_seconds: float = Field(120, ge=5, le=3600, description="a lease not renewed for so long is free again")


class ExclusionSettings(Section):
    """What happens where a resource type that can exclude a patient cannot be read."""

    condition: Need = "required"
    medication_request: Need = "required"
    medication_statement: Need = "required"
    medication_administration: Need = "required"
    medication_dispense: Need = Field(
        "if_offered",
        description="read where the server offers it; prescriptions are read anyway, so nothing is said where not",
    )
    procedure: Need = "required"
    diagnostic_report: Need = Field(
        "if_offered",
        description="a bone density measurement may be known by its report only: only such reports are read",
    )
    specimen: Need = Field(
        "if_offered",
        description="results of urine, of red cells or of haemolysed blood are then refused by their Specimen",
    )

    def needs(self) -> dict[str, Need]:
        """The same by resource type."""
        return {
            "".join(part.capitalize() for part in name.split("_")): getattr(self, name)
            for name in type(self).model_fields
        }


class CodeSettings(Section):
    """The site's own codes and units, on top of the shipped tables (same columns)."""

    codes: Path | None = Field(None, description="CSV, columns as in the shipped codes.csv")
    units: Path | None = Field(None, description="CSV, columns as in the shipped units.csv")
    exclusions: Path | None = Field(None, description="CSV of your own rows (docs: Exclusions)")
    expanded: Path | None = Field(None, description="CSV of codes from a terminology server (`screener codes expand`)")
    systems: Path | None = Field(
        None, description="CSV of names of code systems: alias, system, and shares (codes, categories or nothing)"
    )
    unreviewed: Literal["say", "refuse"] = Field(
        "say",
        description="what happens where one of these files does not say its version, its reviewer and the day of the review",
    )
    whole_blood: bool = Field(
        default=False, description="take magnesium and phosphate of whole blood, which read higher than serum"
    )
    preliminary: bool = Field(default=False, description="accept results with status preliminary")


class OutputSettings(Section):
    """How assessments are written."""

    canonical: str = Field(Canonical().base, description="base of our code systems and extension URLs")
    language: str = Field("en", description="language of notes and rationale")
    fraction: bool = Field(default=False, description="write probabilities as fractions instead of per cent")
    prevalence: Decimal | None = Field(
        None,
        gt=0,
        lt=100,
        description="per cent of your own women in the age with osteoporosis: notes then convert the risk",
    )
    tag: str = Field("", pattern=r"^$|^[^|\s]+\|[^|\s]+$", description="SYSTEM|CODE: a further tag on all we write")
    label: str = Field(
        "",
        pattern=r"^$|^[^|\s]+\|[^|\s]+$",
        description="SYSTEM|CODE: a security label on every assessment, e.g. that an algorithm made it "
        "(http://terminology.hl7.org/CodeSystem/v3-ObservationValue|AIAST)",
    )
    audit_event: bool = Field(
        default=False, description="write an AuditEvent to the server at the end of each run that may write"
    )
    connections: int = Field(2, ge=1, le=16, description="Bundles in flight at once")
    bundle_entries: int = Field(100, ge=1, le=1000, description="entries of a batch Bundle")

    @field_validator("language")
    @classmethod
    def _has_texts(cls, value: str) -> str:
        if value not in available():
            raise ValueError(f"there are no texts in it; choose one of: {', '.join(available())}")
        return value

    @field_validator("canonical")
    @classmethod
    def _no_slash(cls, value: str) -> str:
        return value.rstrip("/")


class BulkSettings(Section):
    """Bulk export of the server (Bulk Data Access)."""

    level: str = Field(
        "", pattern=r"^$|^Patient$|^Group/[A-Za-z0-9._~-]{1,512}$", description='"" for all, "Patient", or "Group/ID"'
    )
    connections: int = Field(2, ge=1, le=16, description="files fetched at once")
    longest_wait_seconds: float = Field(60, gt=0, le=3600, description="between two questions whether it is complete")
    give_up_hours: float = Field(24, gt=0, le=720, description="an export that takes longer is given up")
    errors_allowed: int = Field(
        0, ge=0, description="resources that the server may fail to export before the run stops"
    )


class FolderSettings(Section):
    """A folder of NDJSON as source."""

    complete: bool = Field(
        default=False, description="the export covered all excluding types: one that is absent has no resources"
    )
    one_export: bool = Field(
        default=False,
        description="no resource comes in two versions, as in one bulk export: lines that hold no code we use are skipped",
    )
    bad_lines_allowed: int = Field(0, ge=0, description="unreadable lines beyond which a run stops before it writes")
    temporary: Path | None = Field(
        None, description="where a run keeps what it reads until it ends (patient data); default: the system's place"
    )


class CohortSettings(Section):
    """The site's own codes of T-scores and diagnoses, which label a validation cohort (`screener model cohort`)."""

    t_scores: Path | None = Field(None, description="CSV of T-score codes, columns system, code")
    diagnoses: Path | None = Field(None, description="CSV of diagnoses, columns resources, system, code, match")


class LimitSettings(Section):
    """How large a run's difference may be. Beyond a limit a run writes nothing, unless it is called with --accept-large-change."""

    first_backfill: int = Field(
        25_000, ge=0, description="assessments that the first backfill of a server may create; 0 for any number"
    )
    created: int = Field(5_000, ge=0, description="assessments that any other run may create; 0 for any number")
    amended: int = Field(5_000, ge=0, description="assessments that a run may amend; 0 for any number")
    retracted: int = Field(200, ge=0, description="assessments that a run may take back; 0 for any number")
    failed: int = Field(200, ge=0, description="patients that may fail; 0 for any number")
    created_share: float = Field(
        0.25, gt=0, le=2, description="of the patients of a full reconcile: assessments that it may create for each"
    )
    amended_share: float = Field(
        0.25, gt=0, le=2, description="of the patients of a full reconcile: assessments that it may amend for each"
    )
    retracted_share: float = Field(
        0.05, gt=0, le=2, description="of the patients of any run: assessments that it may take back for each"
    )
    failed_share: float = Field(0.1, gt=0, le=1, description="of the patients of any run: those that may fail")
    at_least: int = Field(20, ge=1, description="below so many changes or patients, no share is looked at")
    rise: float = Field(
        3, gt=1, description="created, amended or retracted for each patient: times as many as in the last runs"
    )
    fall: float = Field(
        0.5,
        gt=0,
        le=1,
        description="the share of patients scored, or with resources of an excluding type, against the last runs: how far it may fall",
    )
    median_shift: float = Field(
        0.25,
        gt=0,
        description="the median of an analyte against that of the last runs: how far it may move, as a share",
    )
    unit_shift: float = Field(
        0.25, gt=0, le=1, description="the share of an analyte's results in each unit: how far it may move"
    )
    rate_shift: float = Field(
        0.2, gt=0, le=1, description="the rate of flags, and of refusals of an analyte: how far it may move"
    )


class TaskSettings(Section):
    """One Task for each newly flagged woman, on the server that takes the assessments."""

    owner: str = Field(
        "",
        pattern=r"^$|^(Practitioner|PractitionerRole|Organization|CareTeam|HealthcareService|Device)/[A-Za-z0-9._~-]{1,512}$",
        description='who gets the Tasks, e.g. "PractitionerRole/dxa"; "" for no Tasks',
    )
    days: int = Field(90, ge=1, le=3650, description="a flag is new whose magnesium result is not older")
    at_most: int = Field(200, ge=1, description="a run makes none where it would make more")


class VisitSettings(Section):
    """`screener serve`: the service that a record system asks at the visit (CDS Hooks)."""

    address: str = Field("127.0.0.1:8099", pattern=r"^\S+:\d{1,5}$", description="HOST:PORT to listen on")
    url: str = Field(
        "", description="the service's address as clients call it, which their JWTs name (aud); default: address"
    )
    client_keys: Path | None = Field(None, description="JSON: the public keys of each CDS client (JWK Set) by its iss")
    fhir_server: str = Field("", description="FHIR base that calls may name; default: server.base_url")
    seconds: float = Field(5, gt=0, le=60, description="a call is given up after that time")
    risk_percent: float = Field(
        0, ge=0, le=100, description="a woman who is not flagged has a card from this risk on; 0 for every risk"
    )


class ReportSettings(Section):
    """The report of a run (HTML), and what is hidden in it."""

    folder: Path | None = Field(None, description="each run that may write leaves its report in this folder")
    least_count: int = Field(
        LEAST,
        ge=1,
        le=1000,
        description="in reports and messages smaller counts are hidden, others rounded to a multiple",
    )


class MetricsSettings(Section):
    """Metrics for Prometheus."""

    file: Path | None = Field(None, description="text file for node-exporter, written after each run (*.prom)")
    address: str = Field(
        "", description='HOST:PORT at which `screener schedule` serves /metrics, /health and /live; "" for none'
    )
    healthy_hours: float = Field(
        36, gt=0, le=8760, description="/health answers 503 where no run has ended well within that time"
    )


class NotifySettings(Section):
    """A webhook that gets a message when something happened. The message holds counts, never a patient."""

    url: SecretStr | None = Field(None, description="address of the webhook; from the environment only")
    url_file: Path | None = Field(None, description="file that holds the address of the webhook")
    on_failure: bool = Field(default=True, description="a run ended with another exit code than 0")
    on_withheld: bool = Field(default=True, description="a run wrote nothing because a limit was exceeded")
    on_newly_flagged: bool = Field(default=False, description="a run flagged women who had no flag before")


class ScheduleSettings(Section):
    """When `screener schedule` runs what."""

    nightly: str = Field("30 3 * * *", description="cron expression of the incremental run")
    backfill: str = Field("0 4 * * 0", description='cron expression of the full reconcile; "" for never')
    first_backfill: Literal["at_once", "at_night", "never"] = Field(
        "at_once",
        description="where there has been no full run yet: begin with one at once, make the first nightly start one, or leave it to people",
    )
    timezone: str = Field("UTC", description="IANA name, e.g. Europe/Berlin")
    misfire_grace_seconds: int = Field(3600, ge=1, le=86_400, description="a start missed by less is made up for")


class Settings(Section):
    """All settings."""

    write: Literal["off", "on"] = Field("off", description="write to a server; off makes every run a dry run")
    acknowledge_uncalibrated: bool = Field(
        default=False, description="the site knows that the published model is not calibrated to its patients"
    )
    source_system: str = Field("", description="part of each assessment's identity; default: the server's base URL")
    beside_other_sources: bool = Field(
        default=False,
        description="another installation, with another source_system, writes below the same canonical for the same patients; without it "
        "a run stops where it finds assessments of another source",
    )
    opted_out: Path | None = Field(
        None,
        description="a file with the ids of patients who objected, one a line: they are not assessed, and are counted",
    )
    model: str = Field("shi2026-mg-category", description="model artefact: a file (JSON), or the id of a shipped one")
    server: ServerSettings = ServerSettings()
    destination: DestinationSettings = DestinationSettings()
    state: StateSettings = StateSettings()
    policy: PolicySettings = PolicySettings()
    exclusions: ExclusionSettings = ExclusionSettings()
    codes: CodeSettings = CodeSettings()
    output: OutputSettings = OutputSettings()
    folder: FolderSettings = FolderSettings()
    bulk: BulkSettings = BulkSettings()
    cohort: CohortSettings = CohortSettings()
    limits: LimitSettings = LimitSettings()
    tasks: TaskSettings = TaskSettings()
    visit: VisitSettings = VisitSettings()
    report: ReportSettings = ReportSettings()
    metrics: MetricsSettings = MetricsSettings()
    notify: NotifySettings = NotifySettings()
    schedule: ScheduleSettings = ScheduleSettings()

    @property
    def follows_up(self) -> bool:
        """Whether anything is to follow a run: a report, metrics, a message."""
        return bool(self.report.folder or self.metrics.file or self.notify.url or self.notify.url_file)

    @property
    def written_to(self) -> ServerSettings:
        """The server that takes the assessments: another destination where one is given, else the one that is read."""
        return self.destination if self.destination.base_url else self.server

    @property
    def optional_writes(self) -> OptionalWrites:
        """What is written beside assessments and the Device: resource type, interactions, the setting that asks for it."""
        audits = (("AuditEvent", ("create",), "output.audit_event"),) if self.output.audit_event else ()
        tasks = (("Task", ("create", "update", "search-type"), "tasks.owner"),) if self.tasks.owner else ()
        return (*audits, *tasks)

    def shown(self) -> dict[str, Any]:
        """The effective settings for people and files, secrets removed."""
        plain: dict[str, Any] = json.loads(self.model_dump_json())
        plain["state"]["url"] = _without_secrets(plain["state"]["url"])
        for section in ("server", "destination"):
            plain[section]["base_url"] = _without_secrets(plain[section]["base_url"])
            plain[section].update({key: "(set)" for key in _SECRETS if plain[section][key]})
        if plain["notify"]["url"]:
            plain["notify"]["url"] = "(set)"
        return plain

    def selection_digest(self, *tables: str) -> str:
        """A hash of all that decides which patients are seen and how: a watermark holds for one such hash only."""
        parts = self.model_dump_json(include={"policy", "exclusions", "codes"}, exclude={"codes": {"unreviewed"}})
        text = "\n".join([parts, self.server.only_tag, *tables])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_secrets(url: str) -> str:
    """An address without user, password and query."""
    parts = urlsplit(url)
    if not parts.username and not parts.password and not parts.query:
        return url
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2], query=""))
