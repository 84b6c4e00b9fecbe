"""The origin of a FHIR server (RFC 6454): scheme, host and port. The token goes to no other."""

from urllib.parse import urlsplit

from screener.base.errors import ConfigurationError
from screener.config.servers import ServerSettings

_DEFAULT_PORTS = {"http": 80, "https": 443}
Origin = tuple[str, str, int]  # scheme, host, port


def origin_of(url: str) -> Origin:
    """Scheme, host and effective port, case ignored: `next` links may spell out the default port (opensrp/fhircore#1714)."""
    parts = urlsplit(url)
    try:
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:  # no number
        port = -1
    return parts.scheme, (parts.hostname or "").lower(), port


def checked_origin(settings: ServerSettings) -> Origin:
    """The origin of the FHIR base. ConfigurationError where it is no address that may be used."""
    parts = urlsplit(settings.base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            "server.base_url is not the address of a FHIR server" if settings.base_url else "No FHIR server is named",
            "Set server.base_url, e.g. SCREENER_SERVER_BASE_URL=https://fhir.hospital.example/fhir",
        )
    if parts.username or parts.password:
        raise ConfigurationError(
            "server.base_url holds a user name or password", "Use server.username and password_file instead"
        )
    if not settings.allows(settings.base_url):
        raise ConfigurationError(
            f"server.base_url is plain http to {parts.hostname}", "Use https, or set server.allow_http = true"
        )
    return origin_of(settings.base_url)
