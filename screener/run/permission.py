"""Whether a run may write: what the call, the configuration and the site have said."""

from model import Artefact
from screener.assessment.identity import Canonical
from screener.base.errors import ConfigurationError
from screener.config.settings import Settings
from screener.run.options import Options


def why_dry(options: Options, write: str) -> str:
    """Why nothing is written, or "" where the run writes."""
    if options.dry_run:
        return "--dry-run"
    if options.to_folder is None and write == "off":
        return 'write = "off" in the configuration'
    return ""


def check_may_write(settings: Settings, artefact: Artefact, *, sandbox: bool) -> None:
    """ConfigurationError where the site has not yet said what it must say before a server is written to. The sandbox takes any canonical."""
    check_acknowledged(artefact, acknowledged=settings.acknowledge_uncalibrated)
    if not sandbox:
        check_canonical(settings.output.canonical)


def check_acknowledged(artefact: Artefact, *, acknowledged: bool) -> None:
    """ConfigurationError where the model is not calibrated to the site's patients, and the site has not said that it knows."""
    if artefact.calibration != "local" and not acknowledged:
        raise ConfigurationError(
            "The published model is not calibrated to this site's patients: acknowledge that before its risks are written to a server",
            "Read 'What a risk means' in the README, then set acknowledge_uncalibrated = true",
        )


def check_canonical(canonical: str) -> None:
    """ConfigurationError where the URLs of what is written would be below nobody's domain."""
    if Canonical(canonical) == Canonical():
        raise ConfigurationError(
            "What is written would carry URLs of example.org: code systems and extensions must have an address of yours",
            'Set output.canonical to a URL below a domain that is yours, e.g. "https://hospital.example/fhir/osteoporosis", '
            "and keep it: assessments are found again by it",
        )
