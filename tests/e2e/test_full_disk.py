"""A disk without room: true words, nothing half written, and the next run goes on."""

from tests.command import screener_process
from tests.e2e.site import Site, writes

DAY = "2025-11-01"
NOW = ("--now", "2026-01-31T02:00:00Z")


def test_for_an_export(sandbox: Site) -> None:
    narrative = {"status": "generated", "div": f"<div>{'x' * 300_000}</div>"}
    sandbox.woman("w1", text=narrative)
    sandbox.stay("w1", DAY)
    settings = {**sandbox.settings(), "SCREENER_BULK_LONGEST_WAIT_SECONDS": "0.2", "SCREENER_SERVER_ONLY_TAG": ""}
    full = screener_process(
        "export", "--out", "all", cwd=sandbox.folder, expect=2, largest_file_bytes=200_000, **settings
    )
    assert "There is no room to write" in full.stderr
    assert "error of its own" not in full.stderr
    assert (
        "in the middle of an export"
        in screener_process(
            "run", "--backfill", "--from", "all", "--to", "out", cwd=sandbox.folder, expect=2, **settings
        ).stderr
    )
    screener_process("export", "--out", "all", cwd=sandbox.folder, **settings)
    assert any("x" * 1000 in file.read_text() for file in (sandbox.folder / "all").glob("Patient*.ndjson"))


def test_for_the_state(sandbox: Site) -> None:
    sandbox.woman("w1")
    sandbox.stay("w1", DAY)
    full = screener_process(
        "run", "--backfill", *NOW, cwd=sandbox.folder, expect=2, largest_file_bytes=20_000, **sandbox.settings()
    )
    assert "the disk is full or reports an error. Make room" in full.stderr
    assert "must be able to read and write" not in full.stderr
    assert sandbox.assessments("w1") == []
    assert sandbox.run("--backfill", *NOW).summary["writes"] == writes(created=2)
