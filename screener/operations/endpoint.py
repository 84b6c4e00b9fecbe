"""The endpoint of the resident worker: /metrics for Prometheus, /health for whoever watches it, /live for whoever restarts it."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog

from screener.base.errors import ConfigurationError, StateError
from screener.config.settings import MetricsSettings
from screener.operations.metrics import exposition
from screener.state import State
from screener.stores.protocols import Mode

log = structlog.get_logger()

NextStarts = Callable[[], Mapping[str, datetime]]


def health(state: State, next_starts: Mapping[str, datetime], within: timedelta, now: datetime) -> dict[str, Any]:
    """What is known of the last runs, and whether all is well: a run ended with exit code 0 `within` that time."""
    rows = [row for row in state.runs(1000) if row.start.mode in (Mode.NIGHTLY, Mode.BACKFILL)]
    ended = [row for row in rows if row.ended]
    success = next((row for row in ended if row.exit_code == 0), None)
    recent = success is not None and now - datetime.fromisoformat(str(success.ended)) <= within
    return {
        "healthy": recent,
        "last_success": success.ended if success else None,
        "last_exit_code": ended[0].exit_code if ended else None,
        "running": next((row.start.run_id for row in rows if row.status == "running"), None),
        "next_starts": {name: start.isoformat() for name, start in next_starts.items()},
    }


@contextmanager
def serving(settings: MetricsSettings, state_url: str, next_starts: NextStarts) -> Iterator[int]:
    """Serve while the block runs, where the settings ask for it; gives the port (0 where nothing is served).

    ConfigurationError for an address that cannot be used.
    """
    if not settings.address:
        yield 0
        return
    host, _, port = settings.address.rpartition(":")
    try:
        server = ThreadingHTTPServer((host.strip("[]"), int(port)), _handler(settings, state_url, next_starts))
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"metrics.address = {settings.address!r} cannot be used ({type(error).__name__})",
            "Write HOST:PORT of this machine, e.g. 127.0.0.1:9464, and a port that is free",
        ) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    log.info("metrics_served", address=settings.address, paths=["/metrics", "/health", "/live"])
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(settings: MetricsSettings, state_url: str, next_starts: NextStarts) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # of a connection that says nothing

        def do_GET(self) -> None:
            """One of the three paths."""
            try:
                status, kind, body = _answer(
                    self.path.partition("?")[0], settings.healthy_hours, state_url, next_starts()
                )
            except StateError as error:
                status, kind, body = 503, "text/plain", f"{error.what}\n".encode()
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: scrapes come every few seconds."""

    return Handler


def _answer(
    path: str, healthy_hours: float, state_url: str, next_starts: Mapping[str, datetime]
) -> tuple[int, str, bytes]:
    """Status, content type, body."""
    if path == "/live":
        return 200, "text/plain", b"live\n"
    if path not in ("/metrics", "/health"):
        return 404, "text/plain", b"There is /metrics, /health and /live\n"
    with State.to_read(state_url) as state:
        if path == "/metrics":
            return 200, "text/plain; version=0.0.4", exposition(state, next_starts)
        found = health(state, next_starts, timedelta(hours=healthy_hours), datetime.now(UTC))
    return 200 if found["healthy"] else 503, "application/json", (json.dumps(found, indent=2) + "\n").encode()
