"""Spans of a run, read back by OpenTelemetry's own SDK."""

from datetime import date
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from fhir_fixtures.population import generate, write_ndjson
from screener.run import tracing
from tests.command import screener


def test_a_run_is_a_span_with_its_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(seen))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    write_ndjson(tmp_path / "export", generate(50, 3, date(2026, 1, 31)))
    call = ("run", "--backfill", "--from", "export", "--to", "out", "-q")
    screener(*call, cwd=tmp_path, SCREENER_FOLDER_COMPLETE="true")
    *stages, whole = seen.get_finished_spans()
    assert [span.name for span in stages] == ["screener prepare", "screener read_and_decide", "screener write"]
    assert whole.name == "screener run"
    assert {span.parent.span_id for span in stages if span.parent} == {whole.context.span_id}
    assert whole.attributes is not None
    assert (whole.attributes["screener.mode"], whole.attributes["screener.exit_code"]) == ("backfill", 0)
    assert whole.status.is_ok
    seen.clear()
    screener(*call, cwd=tmp_path, expect=2)  # an export without Procedures
    failed = seen.get_finished_spans()[-1]
    assert failed.attributes is not None
    assert (failed.status.is_ok, failed.attributes["screener.exit_code"]) == (False, 2)
    assert failed.events == ()


def test_without_the_library_a_run_is_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "trace", None)
    with tracing.run_span() as span:
        span.ended("nightly", 0, {"write": 1.0}, {"patients": 1})
