"""OpenTelemetry spans of a run, where its library is installed: the SDK is set up by the standard environment variables.

    opentelemetry-instrument screener run

Without the library nothing happens. A span holds counts and times, never a patient.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

trace: Any = None
with suppress(ImportError):  # the library is optional
    trace = import_module("opentelemetry.trace")

_NANO = 1_000_000_000


class Span:
    """The span of the run that is at work."""

    def __init__(self, span: Any = None) -> None:
        self._span, self._began = span, time.time_ns()

    def ended(self, mode: str, exit_code: int, stages: Mapping[str, float], counts: Mapping[str, int]) -> None:
        """Set the attributes, and add a span for each stage; `stages` are seconds, one after the other from the run's beginning."""
        if self._span is None:
            return
        self._span.set_attributes({"screener.mode": mode, "screener.exit_code": exit_code})
        self._span.set_attributes({f"screener.{name}": count for name, count in counts.items()})
        if exit_code:
            self._span.set_status(trace.Status(trace.StatusCode.ERROR))
        tracer, began = trace.get_tracer("screener"), self._began
        for name, seconds in stages.items():
            ends = began + round(seconds * _NANO)
            tracer.start_span(f"screener {name}", start_time=began).end(end_time=ends)
            began = ends


@contextmanager
def run_span() -> Iterator[Span]:
    """The span of a run; spans of its requests, where these are instrumented, lie within it."""
    if trace is None:
        yield Span()
        return
    with trace.get_tracer("screener").start_as_current_span("screener run", record_exception=False) as span:
        yield Span(span)
