"""Certificates of a site: whom to trust, and what this machine shows the server (mutual TLS)."""

import ssl

from screener.base.errors import ConfigurationError
from screener.config.servers import ServerSettings


def client_certificate(settings: ServerSettings) -> tuple[str, str] | str | None:
    """What this machine shows the server (mutual TLS): a certificate, and its key where that lies apart."""
    if settings.client_certificate is None:
        return None
    key = settings.client_key
    return (str(settings.client_certificate), str(key)) if key else str(settings.client_certificate)


def check_certificates(settings: ServerSettings) -> None:
    """ConfigurationError for files that are no certificates and keys: requests would say so in the middle of a run."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if settings.ca_bundle:
            context.load_verify_locations(settings.ca_bundle)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot use server.ca_bundle {settings.ca_bundle}: {error.strerror}",
            "It holds certificates to trust, as PEM",
        ) from error
    try:
        if settings.client_certificate:  # a key with a password of its own is refused: nobody is there to type it
            context.load_cert_chain(settings.client_certificate, settings.client_key, password=lambda: "")
    except OSError as error:
        raise ConfigurationError(
            f"Cannot use server.client_certificate {settings.client_certificate} or its key: {error.strerror}",
            "They hold a certificate and its key without a password, as PEM",
        ) from error
