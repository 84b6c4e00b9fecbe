"""Whether a run may write: what the call, the configuration and the site have said."""

from model import Artefact
from screener.assessment.identity import Canonical
from screener.config.settings import Settings
from screener.errors import ConfigurationError
from screener.run.options import Options
from screener.run.servers import Servers


def why_dry(settings: Settings, options: Options, artefact: Artefact, servers: Servers) -> str:
    """Why nothing is written, or "" where the run writes. ConfigurationError where a server must not be written to yet."""
    if options.dry_run:
        return "--dry-run"
    if options.to_folder is not None:
        return ""
    if settings.write == "off":
        return 'write = "off" in the configuration'
    may_write(settings, artefact, sandbox=servers.destination is not None and servers.destination.is_sandbox)
    return ""


def may_write(settings: Settings, artefact: Artefact, *, sandbox: bool) -> None:
    """ConfigurationError where the site has not yet said what it must say before anything is written. The sandbox takes any canonical."""
    check_acknowledged(settings, artefact)
    if not sandbox:
        check_canonical(settings)


def check_acknowledged(settings: Settings, artefact: Artefact) -> None:
    """ConfigurationError where the model is not calibrated to the site's patients, and the site has not said that it knows."""
    if artefact.calibration != "local" and not settings.acknowledge_uncalibrated:
        raise ConfigurationError(
            "The published model is not calibrated to this site's patients: acknowledge that before its risks are written to a server",
            "Read 'What a risk means' in the README, then set acknowledge_uncalibrated = true",
        )


def check_canonical(settings: Settings) -> None:
    """ConfigurationError where the URLs of what is written would be below nobody's domain."""
    if Canonical(settings.output.canonical) == Canonical():
        raise ConfigurationError(
            "What is written would carry URLs of example.org: code systems and extensions must have an address of yours",
            'Set output.canonical to a URL below a domain that is yours, e.g. "https://hospital.example/fhir/osteoporosis", '
            "and keep it: assessments are found again by it",
        )
