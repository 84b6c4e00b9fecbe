"""How to reach a FHIR server: its section of the configuration, and that of another destination."""

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from screener.base.addresses import normalised

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Section(BaseModel):
    """Base of the sections: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(Section):
    """The FHIR server that the job reads from and, unless another destination is given, writes to."""

    base_url: str = Field("", description="FHIR base, e.g. https://fhir.hospital.example/fhir")
    token: SecretStr | None = Field(None, description="bearer token; from the environment only")
    token_file: Path | None = Field(None, description="file that holds a bearer token; read again when it is refused")
    username: str = Field("", description="of basic authentication")
    password: SecretStr | None = Field(None, description="of username; from the environment only")
    password_file: Path | None = Field(None, description="file that holds the password of username")
    credential_command: str = Field("", description="command that prints the token, or the password of username")
    client_id: str = Field("", description="of SMART Backend Services: as the authorisation server knows this job")
    private_keys: Path | None = Field(None, description="keys of client_id, as `screener keys new` makes them")
    token_url: str = Field("", description="token endpoint; default: as the server's SMART configuration names it")
    scopes: str = Field("", description="asked for with client_id; default: what the run needs")
    client_certificate: Path | None = Field(None, description="shown to the server (mutual TLS), PEM")
    client_key: Path | None = Field(None, description="key of client_certificate, where it is not in the same file")
    ca_bundle: Path | None = Field(None, description="certificates to trust, PEM")
    allow_http: bool = Field(default=False, description="allow plain http to a host that is not this machine")
    timeout_seconds: float = Field(60, gt=0, le=600, description="for each request")
    attempts: int = Field(5, ge=1, le=20, description="tries of a request that may be repeated")
    retries_per_run: int = Field(
        500, ge=0, description="retries of all requests of a run together; after them the next failure ends it"
    )
    wait_minutes_per_run: float = Field(
        120,
        ge=0,
        le=1440,
        description="waits that the server asks for (Retry-After), all of a run together; beyond them they count as failures",
    )
    longest_wait_seconds: float = Field(60, ge=0, le=3600, description="cap on a server's Retry-After")
    connections: int = Field(
        2, ge=1, le=16, description="searches at once, where the server takes one patient at a time only"
    )
    requests_per_second: float = Field(
        0,
        ge=0,
        le=10_000,
        description="limit for each connection; 0 for none (hospitals' servers are shared)",
    )
    condition_categories: str = Field(
        "",
        pattern=r"^$|^[^\s,]+(,[^\s,]+)*$",
        description="all categories that conditions have here, as a list with commas, for a server that shows them by category only; "
        "until it is set, conditions count as read in part there",
    )
    observation_categories: str = Field(
        "",
        pattern=r"^$|^[^\s,]+(,[^\s,]+)*$",
        description="all categories that results have here, for a server that shows them by category only, also where codes are named",
    )
    page_size: int = Field(1000, ge=1, le=10_000, description="_count of searches")
    batch_patients: int = Field(
        100,
        ge=1,
        le=1000,
        description="patients whose records are asked for at once: ideally as many as have their results on one page",
    )
    overlap_minutes: int = Field(
        60, ge=0, le=10_080, description="how far a nightly run looks back behind its watermark"
    )
    nights: Literal["last-updated", "result-date"] = Field(
        "last-updated",
        description="how a nightly run finds results: by when they changed, or by their own date (servers without _lastUpdated)",
    )
    result_date_days: int = Field(
        14, ge=0, le=365, description="how far a nightly run looks back where it goes by result dates"
    )
    answer_megabytes: int = Field(256, ge=1, le=4096, description="a larger answer (decompressed) is refused")
    answer_seconds: float = Field(
        600, gt=0, le=86_400, description="an answer that takes longer to come in is given up"
    )
    clock_tolerance_minutes: int = Field(
        10, ge=1, le=1440, description="a run stops where the server's clock and this machine's differ by more"
    )
    only_tag: str = Field("", pattern=r"^$|^[^|\s]+\|[^|\s]+$", description="SYSTEM|CODE: only resources with this tag")

    @field_validator("base_url")
    @classmethod
    def _one_spelling(cls, value: str) -> str:
        return normalised(value)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        token = self.token is not None or self.token_file is not None
        secrets = [self.password is not None, self.password_file is not None]
        if sum([token, bool(self.username), bool(self.client_id)]) > 1:
            raise ValueError("give one of token or token_file, username, client_id")
        if self.client_id and self.private_keys is None:
            raise ValueError("client_id needs private_keys: make them with `screener keys new --out FILE`")
        if (any(secrets) or self.credential_command) and self.client_id:
            raise ValueError("client_id takes private_keys and no password or credential_command")
        if any(secrets) and not self.username:
            raise ValueError("a password needs username")
        if self.username and not any(secrets) and not self.credential_command:
            raise ValueError("username needs password_file, credential_command, or the password in the environment")
        return self

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.base_url).netloc.rpartition("@")[2]

    @property
    def is_this_machine(self) -> bool:
        """Whether the server is on this machine."""
        return urlsplit(self.base_url).hostname in _LOOPBACK

    def allows(self, address: str) -> bool:
        """Whether requests may go to an address: https, this machine, or plain http that is allowed."""
        parts = urlsplit(address)
        return parts.scheme == "https" or parts.hostname in _LOOPBACK or self.allow_http


class DestinationSettings(ServerSettings):
    """Another FHIR server that assessments are written to; without a `base_url` it is the one that is read."""

    patient_identifier: str = Field(
        "", description="system of the business identifier by which both servers know a patient, e.g. of the MRN"
    )

    @model_validator(mode="after")
    def _says_who(self) -> Self:
        if self.base_url and not self.patient_identifier:
            raise ValueError("another destination needs patient_identifier: how a patient is found there")
        return self
