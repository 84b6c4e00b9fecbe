"""A message to a webhook when a run failed, was withheld, or flagged women who had no flag. Counts only: no patient is named."""

from enum import StrEnum
from typing import Any

import requests
import stamina
from requests.utils import get_environ_proxies

from screener.base.errors import ConfigurationError
from screener.base.small_counts import said, shown
from screener.config.settings import NotifySettings
from screener.fhir import keys
from screener.run.summary import Summary

_SECONDS = 10
_ATTEMPTS = 3


class Event(StrEnum):
    """Why a message is sent."""

    FAILED = "failed"
    WITHHELD = "withheld"
    NEWLY_FLAGGED = "newly_flagged"


def event_of(summary: Summary, settings: NotifySettings) -> Event | None:
    """What is to be told of a run, None for nothing. A dry run tells nothing."""
    if summary.withheld:
        return Event.WITHHELD if settings.on_withheld else None
    if summary.exit_code:
        return Event.FAILED if settings.on_failure else None
    if summary.dry_run or not summary.newly_flagged:
        return None
    return Event.NEWLY_FLAGGED if settings.on_newly_flagged else None


def message(summary: Summary, event: Event, least: int) -> dict[str, Any]:
    """The JSON that is sent. `text` is what chat programs show; small counts are hidden."""
    newly = said(shown(summary.newly_flagged, least), least)
    if event is Event.WITHHELD:
        words = f"wrote nothing: {'; '.join(found.words for found in summary.limits_exceeded)}"
    elif event is Event.FAILED:
        words = f"ended with exit code {summary.exit_code}: {summary.error or 'some patients failed'}"
    else:
        words = f"flagged {newly} women who had no flag before"
    return {
        "text": f"screener: the {summary.mode} run {words}.{f' {summary.remedy}.' if summary.remedy else ''}",
        "event": event.value,
        "run_id": summary.run_id,
        "mode": summary.mode,
        "exit_code": summary.exit_code,
        "next_action": summary.next_action,
        "newly_flagged": newly,
    }


def address(settings: NotifySettings) -> str:
    """Where messages go, "" for nowhere. ConfigurationError for a file that cannot be read, and for what is no https address."""
    url = settings.url.get_secret_value() if settings.url else ""
    if settings.url_file:
        url = keys.read_private(settings.url_file).decode("utf-8", "replace").strip()
    if url and not url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
        raise ConfigurationError(
            "The webhook's address is not https", "Give one that begins with https:// (notify.url_file)"
        )
    return url


def send(url: str, body: dict[str, Any]) -> str:
    """Post it; returns "" or why it did not arrive. The address is a secret and is never repeated."""
    try:
        for attempt in stamina.retry_context(on=requests.RequestException, attempts=_ATTEMPTS, wait_max=5):
            with attempt, requests.Session() as session:
                session.trust_env = False  # proxies, and nothing else of the environment
                session.proxies = dict(get_environ_proxies(url))
                answer = session.post(url, json=body, timeout=_SECONDS, allow_redirects=False)
                answer.raise_for_status()
    except requests.HTTPError as error:
        return f"HTTP {error.response.status_code}"
    except requests.RequestException as error:
        return type(error).__name__
    return "" if answer.status_code < 300 else f"HTTP {answer.status_code}"
