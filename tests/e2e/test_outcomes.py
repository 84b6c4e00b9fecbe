"""`screener outcomes`: who had a DXA after an assessment, by hand for one quarter, and on a population."""

import csv
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from fhir_fixtures.population import generate, write_ndjson
from screener.analysis.cohort.outcomes import quarters
from tests.command import screener
from tests.e2e.site import Site
from tests.fhir_samples import patient
from tests.folders import export, stay

Json = dict[str, Any]
NOW = ("--now", "2026-11-01T00:00:00Z")
COMPLETE = {"SCREENER_FOLDER_COMPLETE": "true"}


def dxa(woman: str, day: str, t_score: float) -> Json:
    return {
        "resourceType": "Observation",
        "id": f"{woman}-dxa-{day}",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "38267-1"}]},
        "subject": {"reference": f"Patient/{woman}"},
        "effectiveDateTime": day,
        "valueQuantity": {"value": t_score, "unit": "{T-score}"},
    }


def hospital() -> list[Json]:
    """Twelve women of the second quarter of 2025: six with a DXA within a year, three of them with osteoporosis; three with one before;
    one with one too late; two with none. And one of another quarter."""
    found = [resource for n in range(12) for resource in (patient(f"w{n}"), *stay(f"w{n}", "2025-05-10"))]
    found += [dxa(f"w{n}", "2025-08-01", -3.0 if n < 3 else -1.0) for n in range(6)]
    found += [dxa(f"w{n}", "2025-04-01", -3.0) for n in range(6, 9)]
    found += [
        dxa("w9", "2026-09-01", -3.0),
        patient("other"),
        *stay("other", "2025-09-10"),
        dxa("other", "2025-09-20", -3.0),
    ]
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    export(tmp_path / "export", hospital())
    return tmp_path


def found(folder: Path, *arguments: str) -> Json:
    call = ("outcomes", "--from", "export", "--json", *NOW, *arguments)
    answer: Json = json.loads(screener(*call, cwd=folder, **COMPLETE).stdout)
    return answer


def test_one_quarter_by_hand(folder: Path) -> None:
    told = found(folder, "--quarters", "2", "--least-count", "1")
    first, second = told["quarters"]
    assert (first["quarter"], second["quarter"]) == ("2025Q2", "2025Q3")
    assert (first["assessed"], first["with_dxa"], first["osteoporosis"]) == (12, 6, 3)
    assert first["mean_t_score"] == -2.0
    assert first["observed_percent"] == 50
    assert (second["assessed"], second["with_dxa"], second["osteoporosis"]) == (1, 1, 1)
    assert told["together"]["assessed"] == 13
    ratio, low, high = first["observed_expected"]
    assert ratio == pytest.approx(50 / first["mean_risk_percent"], abs=0.02)
    # 3 of 6 women: the standard error of log(O/E) is sqrt((1 - 3/6) / 3) = 0.408, and exp(1.96 * 0.408) = 2.226.
    assert (ratio / low, high / ratio) == pytest.approx((2.226, 2.226), rel=0.02)


def test_a_woman_of_two_quarters_counts_once_in_all_together(tmp_path: Path) -> None:
    later = [{**result, "id": f"{result['id']}-later"} for result in stay("w1", "2025-08-10")]
    stays = [*stay("w1", "2025-04-10"), *later]
    export(tmp_path / "export", [patient("w1"), *stays, dxa("w1", "2025-09-20", -3.0)])
    told = found(tmp_path, "--quarters", "2", "--least-count", "1", "--out", "women.csv")
    assert [(quarter["assessed"], quarter["with_dxa"]) for quarter in told["quarters"]] == [(1, 1), (1, 1)]
    assert (told["together"]["assessed"], told["together"]["with_dxa"], told["together"]["osteoporosis"]) == (1, 1, 1)
    with (tmp_path / "women.csv").open(newline="", encoding="utf-8") as stream:
        assert [woman["period"] for woman in csv.DictReader(stream)] == ["2025Q2"]


def test_no_event_at_all_has_an_interval(tmp_path: Path) -> None:
    resources: list[Json] = []
    for n in range(12):
        resources += [patient(f"w{n}"), *stay(f"w{n}", "2025-05-10"), dxa(f"w{n}", "2025-06-01", -0.5)]
    export(tmp_path / "export", resources)
    told = found(tmp_path, "--quarters", "2", "--least-count", "5")["together"]
    ratio, low, high = told["observed_expected"]
    assert (ratio, low, told["osteoporosis"]) == (0, 0, 0)
    # None of 12: at most 1 - 0.025^(1/12) = 26.5 % by chance in 2.5 % of such groups.
    assert high == pytest.approx(26.46 / told["mean_risk_percent"], rel=0.02)


def test_few_are_not_shown(folder: Path) -> None:
    first, second = found(folder, "--quarters", "2")["quarters"]
    assert (first["assessed"], first["with_dxa"], first["osteoporosis"]) == (10, 5, None)
    assert first["observed_expected"] is None
    assert second["assessed"] is None
    said = screener("outcomes", "--from", "export", "--quarters", "2", *NOW, cwd=folder, **COMPLETE).stdout
    assert "<5" in said
    assert max(map(len, said.splitlines())) <= 100


def test_those_who_had_one_feed_the_validation(tmp_path: Path) -> None:
    write_ndjson(tmp_path / "export", generate(4000, 5, date(2026, 1, 31), dxa_share=0.8))
    call = ("outcomes", "--from", "export", "--now", "2026-01-31T00:00:00Z", "--quarters", "6", "--within-days", "120")
    told = json.loads(
        screener(*call, "--json", "--least-count", "1", "--out", "women.csv", cwd=tmp_path, **COMPLETE).stdout
    )
    with (tmp_path / "women.csv").open(newline="", encoding="utf-8") as stream:
        women = list(csv.DictReader(stream))
    assert len(women) == told["together"]["with_dxa"]
    assert {woman["period"] for woman in women} <= {quarter["quarter"] for quarter in told["quarters"]}
    assert all(0 <= int(woman["gap_days"]) <= 120 for woman in women)
    assert (tmp_path / "women.csv").stat().st_mode & 0o077 == 0
    said = screener("model", "validate", "--cohort", "women.csv", cwd=tmp_path).stdout
    assert "with osteoporosis" in said


def test_a_server_tells_the_same_as_its_export(sandbox: Site) -> None:
    for resource in hospital():
        text = json.dumps(resource)
        for n in (*range(12), "other"):
            name = n if n == "other" else f"w{n}"
            text = text.replace(f'"Patient/{name}"', f'"Patient/{sandbox.id(str(name))}"')
        moved = json.loads(text)
        sandbox.put({**moved, "id": sandbox.id(moved["id"])})
    told = json.loads(sandbox.call("outcomes", "--json", *NOW, "--quarters", "2", "--least-count", "1").stdout)
    assert [quarter["with_dxa"] for quarter in told["quarters"]] == [6, 1]
    assert sandbox.search("RiskAssessment", _tag="|".join(sandbox.tag)) == []


def test_only_quarters_that_are_over_for_long_enough() -> None:
    assert quarters(date(2026, 11, 1), 2, 365) == [
        (date(2025, 4, 1), date(2025, 6, 30)),
        (date(2025, 7, 1), date(2025, 9, 30)),
    ]
    assert quarters(date(2026, 9, 29), 1, 365) == [(date(2025, 4, 1), date(2025, 6, 30))]
    assert quarters(date(2026, 1, 1), 1, 1) == [(date(2025, 7, 1), date(2025, 9, 30))]


def test_what_cannot_be_used_is_said(folder: Path) -> None:
    said = screener("outcomes", "--from", "export", "--out", "women.txt", cwd=folder, expect=2, **COMPLETE).stderr
    assert "not as women.txt" in said
