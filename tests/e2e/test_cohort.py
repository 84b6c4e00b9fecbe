"""`screener model cohort`, from a folder and from a server, through the command line."""

import csv
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from fhir_fixtures.population import generate, write_ndjson
from tests.command import Ended, clean_environment, screener
from tests.e2e.site import Site
from tests.fhir_samples import observation, patient
from tests.folders import export

Json = dict[str, Any]
NOW = "2026-01-31T02:00:00Z"
MG_DAY = date(2025, 6, 1)
STAY = {"mg": "0.84", "p": "1.10", "ctx": "0.47", "p1np": "54.0", "weight": "60.0", "height": "158.0"}
# Planted wherever a resource can say who it is about.
CANARIES = ("canaryid", "CanaryName", "CANARYMRN", "canary-street")


def day(days: int = 0) -> str:
    return (MG_DAY + timedelta(days=days)).isoformat()


def name(short: str) -> str:
    return f"canaryid-{short}"


def woman(short: str, **fields: Any) -> Json:
    about = {
        "name": [{"family": "CanaryName", "given": [short]}],
        "identifier": [{"system": "https://hospital.example/mrn", "value": f"CANARYMRN{short}"}],
        "address": [{"line": ["canary-street 1"]}],
    }
    return {**patient(name(short)), **about, **fields}


def stay(short: str, days: int = 0, **values: str) -> list[Json]:
    """The results of one stay; a value "" leaves the result out."""
    given = {**STAY, **values}
    return [
        observation(f"{name(short)}-{analyte}-{days}", name(short), analyte, value, f"{day(days)}T08:00:00Z")
        for analyte, value in given.items()
        if value
    ]


def dxa(short: str, value: float, days: int = 0, code: str = "38267-1", **fields: Any) -> Json:
    return {
        "resourceType": "Observation",
        "id": f"{name(short)}-dxa-{code}-{days}",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": f"Patient/{name(short)}"},
        "effectiveDateTime": day(days),
        "valueQuantity": {"value": value, "unit": "{T-score}"},
        "note": [{"text": "CanaryName"}],
        **fields,
    }


def condition(short: str, system: str, code: str, onset: str) -> Json:
    return {
        "resourceType": "Condition",
        "id": f"{name(short)}-cond",
        "code": {"coding": [{"system": system, "code": code}]},
        "subject": {"reference": f"Patient/{name(short)}"},
        "onsetDateTime": onset,
    }


def treated(short: str, days: int) -> Json:
    return {
        "resourceType": "MedicationRequest",
        "id": f"{name(short)}-med",
        "status": "active",
        "intent": "order",
        "subject": {"reference": f"Patient/{name(short)}"},
        "medicationCodeableConcept": {"coding": [{"system": "http://www.whocc.no/atc", "code": "M05BA04"}]},
        "authoredOn": day(days),
    }


def hospital() -> list[Json]:
    """One woman for each thing that can happen; mg names her in the rows."""
    icd = "http://hl7.org/fhir/sid/icd-10-cm"
    return [
        # At the cut-off, by the lowest of three sites; beside it an exam further away and BMD.
        *(
            woman("a"),
            *stay("a", mg="0.81", ocn="18.2"),
            dxa("a", -2.5, 20),
            dxa("a", -1.0, 20, "38264-8"),
            dxa("a", -3.9, 40),
        ),
        # Just above the cut-off, at the end of the gap.
        *(woman("b"), *stay("b", mg="0.82"), dxa("b", -2.4, -365)),
        # A day beyond the gap.
        *(woman("c"), *stay("c", mg="0.83"), dxa("c", -3.0, -366)),
        # No DXA, but a diagnosis; and phosphate missing.
        *(woman("d"), *stay("d", mg="0.84", p=""), condition("d", icd, "M81.0", day(-100))),
        # Neither.
        *(woman("e"), *stay("e", mg="0.85")),
        # Treated for what the DXA showed.
        *(woman("f"), *stay("f", mg="0.86"), dxa("f", -3.1, 10), treated("f", 30)),
        # Too old to be told by her age.
        *(woman("g", birthDate="1929-01-01"), *stay("g", mg="0.87"), dxa("g", -2.0)),
        # A T-score that none can have.
        *(woman("h"), *stay("h", mg="0.88"), dxa("h", -25.0)),
        # Not in: no magnesium, a man, too young, excluded before the result.
        *(woman("i"), *stay("i", mg=""), dxa("i", -3.0)),
        *(woman("j", gender="male"), *stay("j", mg="0.89"), dxa("j", -3.0)),
        *(woman("k", birthDate="1985-01-01"), *stay("k", mg="0.90"), dxa("k", -3.0)),
        *(woman("l"), *stay("l", mg="0.91"), dxa("l", -3.0), condition("l", icd, "N18.5", day(-1))),
    ]


def command(tmp_path: Path, *arguments: str, expect: int = 0) -> Ended:
    """`screener model cohort` away from any configuration."""
    asked = ("model", "cohort", "--now", NOW, *arguments)
    return screener(*asked, cwd=tmp_path, expect=expect, SCREENER_FOLDER_COMPLETE="true")


def rows(file: Path) -> dict[str, dict[str, str]]:
    """By magnesium, which tells the women of `hospital` apart."""
    with file.open(newline="") as stream:
        return {row["mg_mmol_l"]: row for row in csv.DictReader(stream)}


def labels(file: Path) -> dict[str, str]:
    return {mg: row["osteoporosis"] for mg, row in rows(file).items()}


def described(file: Path) -> Json:
    found: Json = json.loads(file.with_name(f"{file.name}.json").read_text())
    return found


def nothing_says_who(folder: Path, said: str = "") -> None:
    """No planted name or id, no birth date and no date of a result, in any file or on the terminal."""
    texts = [path.read_bytes() for path in folder.iterdir() if path.is_file()] + [said.encode()]
    assert len(texts) >= 4
    for canary in (*CANARIES, "1958", "1929", "2025-", "2026-", "T08:00"):
        assert not [text for text in texts if canary.encode() in text], canary


def adds_up(counts: Json) -> bool:
    left_out = sum(count for reasons in counts["left_out"].values() for count in reasons.values())
    labelled = counts["osteoporosis"] + counts["no_osteoporosis"] + counts["without_label"]
    return bool(
        counts["patients_seen"] == counts["women_in_cohort"] + left_out and labelled == counts["women_in_cohort"]
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    export(tmp_path / "export", hospital())
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "women.csv"


def pulled(out: Path, *arguments: str) -> Ended:
    ended = command(out.parent.parent, "--from", "export", "--out", str(out), "--least-count", "1", *arguments)
    nothing_says_who(out.parent, ended.stdout + ended.stderr)
    assert adds_up(described(out)["counts"])
    return ended


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The hospital's cohort by default, and what was said on the terminal."""
    folder = tmp_path_factory.mktemp("usual")
    export(folder / "export", hospital())
    (folder / "out").mkdir()
    women = folder / "out" / "women.csv"
    return women, pulled(women).stdout


def test_labels_by_t_score(usual: tuple[Path, str]) -> None:
    out, _ = usual
    assert labels(out) == {"0.81": "1", "0.82": "0", "0.86": "1", "0.87": "0"}
    assert rows(out)["0.81"] == {
        "age_years": "67",
        "bmi_kg_m2": "24.03",  # 60 / 1.58^2
        "mg_mmol_l": "0.81",
        "p_mmol_l": "1.1",
        "ctx_ng_ml": "0.47",
        "p1np_ng_ml": "54.0",
        "ocn_ng_ml": "18.2",
        "mg_at_or_below_cut_off": "1",
        "osteoporosis": "1",
        "t_score": "-2.5",
        "gap_days": "20",
        "label_source": "t-score",
        "period": "2025Q2",
        "assay": "",
    }
    assert rows(out)["0.87"]["age_years"] == "90"  # she was 96
    assert [row["gap_days"] for row in rows(out).values()] == ["20", "-365", "10", "0"]


def test_the_books_name_every_reason(usual: tuple[Path, str]) -> None:
    out, said = usual
    counts = described(out)["counts"]
    assert counts == {
        "patients_seen": 11,  # whom the folder shows with magnesium: all but one
        "women_in_cohort": 4,
        "osteoporosis": 2,
        "no_osteoporosis": 2,
        "without_label": 0,
        "left_out": {
            "not_eligible": {"excluded_renal": 1, "sex_male": 1, "too_young": 1},
            "unlabelled": {"dxa_outside_gap": 1, "dxa_unusable": 1, "no_dxa": 2},
        },
        "label_resources_refused": {"Observation": {"implausible": 1}},
    }
    assert "11 patients, 4 women in the cohort: 2 with osteoporosis, 2 without, 0 without a label" in said


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "diagnosis",
            {"0.81": "0", "0.82": "0", "0.83": "0", "0.84": "1", "0.85": "0", "0.86": "0", "0.87": "0", "0.88": "0"},
        ),
        ("either", {"0.81": "1", "0.82": "0", "0.84": "1", "0.86": "1", "0.87": "0"}),
    ],
)
def test_labels_by_diagnosis_and_by_either(out: Path, kind: str, expected: dict[str, str]) -> None:
    pulled(out, "--label", kind)
    assert labels(out) == expected
    assert described(out)["label"]["kind"] == kind


def test_the_gap_can_be_set(out: Path) -> None:
    pulled(out, "--max-gap-days", "366")
    assert labels(out)["0.83"] == "1"
    pulled(out, "--max-gap-days", "364")
    assert "0.82" not in labels(out)


def test_women_without_a_label_are_written_where_wanted(out: Path) -> None:
    pulled(out, "--with-unlabelled")
    found = labels(out)
    assert {mg for mg, label in found.items() if not label} == {"0.83", "0.84", "0.85", "0.88"}
    assert rows(out)["0.84"]["p_mmol_l"] == ""  # measured nowhere: the others are there all the same
    assert rows(out)["0.84"]["bmi_kg_m2"] == "24.03"
    counts = described(out)["counts"]
    assert (counts["women_in_cohort"], counts["without_label"]) == (8, 4)
    assert "unlabelled" not in counts["left_out"]


def test_by_todays_knowledge_the_treated_are_missing(out: Path) -> None:
    pulled(out, "--as-of", "run")
    assert labels(out).keys() == {"0.81", "0.82", "0.87"}
    assert described(out)["counts"]["left_out"]["not_eligible"]["excluded_antiresorptive"] == 1


def test_labelled_beside_unlabelled(usual: tuple[Path, str]) -> None:
    out, said = usual
    with out.with_name("women.csv.comparison.csv").open(newline="") as stream:
        compared = {row["predictor"]: row for row in csv.DictReader(stream)}
    mg = compared["mg_mmol_l"]
    # Labelled 0.81, 0.82, 0.86, 0.87: mean 0.84, squares of deviations 9 + 4 + 4 + 9 = 26 e-4, SD sqrt(26e-4 / 3).
    # Unlabelled 0.83, 0.84, 0.85, 0.88: mean 0.85, 4 + 1 + 0 + 9 = 14 e-4, SD sqrt(14e-4 / 3).
    # Difference -0.01 / sqrt((26e-4 / 3 + 14e-4 / 3) / 2) = -0.01 / 0.025820.
    assert (mg["labelled_mean"], mg["labelled_sd"]) == ("0.8400", "0.0294")
    assert (mg["unlabelled_mean"], mg["unlabelled_sd"]) == ("0.8500", "0.0216")
    assert mg["standardised_difference"] == "-0.3873"
    assert compared["p_mmol_l"]["unlabelled_missing_share"] == "0.2500"
    flag = compared["mg_at_or_below_cut_off"]
    assert (flag["labelled_mean"], flag["unlabelled_mean"], flag["labelled_sd"]) == ("0.5000", "0.5000", "")
    assert "-0.3873" in said


def test_few_women_are_not_told_of(out: Path) -> None:
    command(out.parent.parent, "--from", "export", "--out", str(out))
    with out.with_name("women.csv.comparison.csv").open(newline="") as stream:
        cells = [cell for row in list(csv.reader(stream))[1:] for cell in row[1:]]
    assert set(cells) == {"<5"}  # four women on either side
    counts = described(out)["counts"]
    assert counts["left_out"] == {"not_eligible": {"reasons_below_5": 3}, "unlabelled": {"reasons_below_5": 4}}
    assert adds_up(counts)


def test_parquet_holds_the_same_as_csv(out: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pulled(out, "--with-unlabelled")
    parquet = out.with_name("women.parquet")
    pulled(parquet, "--with-unlabelled")
    text = {"label_source": "str", "period": "str", "assay": "str"}
    in_csv, in_parquet = pandas.read_csv(out, dtype=text), pandas.read_parquet(parquet)
    assert list(in_csv.columns) == list(in_parquet.columns)
    pandas.testing.assert_frame_equal(in_csv, in_parquet, check_dtype=False)


def test_the_same_women_give_the_same_bytes_in_an_order_of_their_values(
    usual: tuple[Path, str], out: Path, tmp_path: Path
) -> None:
    first = usual[0].read_bytes()
    export(tmp_path / "export", list(reversed(hospital())))
    pulled(out)
    assert out.read_bytes() == first
    with out.open(newline="") as stream:
        written = [(int(r["age_years"]), float(r["bmi_kg_m2"]), float(r["mg_mmol_l"])) for r in csv.DictReader(stream)]
    assert written == sorted(written)
    assert described(out)["sha256"] == hashlib.sha256(first).hexdigest()


def test_the_files_are_for_their_owner_only(usual: tuple[Path, str]) -> None:
    out, _ = usual
    assert {path.name: path.stat().st_mode & 0o777 for path in out.parent.iterdir()} == dict.fromkeys(
        ("women.csv", "women.csv.json", "women.csv.comparison.csv"), 0o600
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--out", "women.xlsx"), "written as .csv or .parquet"),
        (("--out", "nowhere/women.csv"), "The folder for women.csv does not exist"),
        (("--out", "women.csv", "--max-gap-days", "-1"), "max-gap-days"),
        (("--out", "women.csv", "--from", "nowhere"), "Cannot read the folder nowhere"),
    ],
)
def test_what_cannot_be_done_is_said(out: Path, arguments: Sequence[str], words: str) -> None:
    ended = command(out.parent.parent, "--from", "export", *arguments, expect=2)
    assert words in ended.stderr


def test_parquet_without_pyarrow_is_refused_before_anything_is_read(out: Path, tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['pyarrow'] = None; from screener.commands.cli import main; main()"
    arguments = ("model", "cohort", "--from", "nowhere", "--out", str(out.with_suffix(".parquet")))
    ended = subprocess.run(
        [sys.executable, "-c", hidden, *arguments],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
    )
    assert (ended.returncode, "osteoporosis-screener[report]" in ended.stderr) == (2, True), ended.stderr


def test_nobody_in_the_cohort_is_an_error_and_leaves_no_file(out: Path, tmp_path: Path) -> None:
    export(tmp_path / "export", [woman("e"), *stay("e")])
    for kind in ("Condition", "MedicationRequest"):
        (tmp_path / "export" / f"{kind}.000.ndjson").unlink()
    ended = command(tmp_path, "--from", "export", "--out", str(out), "--least-count", "1", expect=2)
    assert "None of 1 patient belongs in the cohort; left out: no_dxa 1." in ended.stderr
    assert not list(out.parent.iterdir())


def test_a_dxa_after_the_pulls_instant_is_not_known_at_it(out: Path, tmp_path: Path) -> None:
    (tmp_path / "export" / "more.ndjson").write_text(json.dumps(dxa("e", -3.0, 300)))
    pulled(out)
    assert "0.85" not in labels(out)


def test_older_copies_in_a_folder_do_not_count(out: Path, tmp_path: Path) -> None:
    old, new = (
        {**dxa("b", value, -365), "meta": {"versionId": str(number), "lastUpdated": f"2025-08-0{number}T00:00:00Z"}}
        for number, value in ((1, -2.4), (2, -3.2))
    )
    (tmp_path / "export" / "more.ndjson").write_text(f"{json.dumps(new)}\n{json.dumps(old)}\n")
    pulled(out)
    assert rows(out)["0.82"]["t_score"] == "-3.2"


def test_a_synthetic_population_tells_cases_by_its_risk(tmp_path: Path) -> None:
    write_ndjson(tmp_path / "export", generate(1500, 3, date(2026, 1, 31), dxa_share=0.4))
    command(tmp_path, "--from", "export", "--out", "women.csv", "--with-unlabelled")
    counts = described(tmp_path / "women.csv")["counts"]
    assert adds_up(counts)
    labelled = counts["osteoporosis"] + counts["no_osteoporosis"]
    # Two in five have a DXA, and some of those lie more than a year from the result that counts.
    assert 0.25 < labelled / counts["women_in_cohort"] < 0.4
    with (tmp_path / "women.csv").open(newline="") as stream:
        found = [row for row in csv.DictReader(stream) if row["osteoporosis"]]
    shares = {
        flag: [int(row["osteoporosis"]) for row in found if row["mg_at_or_below_cut_off"] == flag] for flag in "01"
    }
    assert sum(shares["1"]) / len(shares["1"]) > sum(shares["0"]) / len(shares["0"]) + 0.1


# From a server


def at(site: Site, resources: Sequence[Json]) -> None:
    """The same hospital on a server, with ids of the site's own."""
    for resource in sorted(resources, key=lambda r: r["resourceType"] != "Patient"):
        site.put(json.loads(json.dumps(resource).replace("canaryid-", f"canaryid-{site.name}-")))


def from_server(site: Site, out: Path, *arguments: str) -> Ended:
    ended = site.call("model", "cohort", "--now", NOW, "--out", str(out), "--least-count", "1", *arguments)
    nothing_says_who(out.parent, ended.stdout)
    return ended


def test_from_a_server_the_same_bytes_as_from_a_folder(site: Site, out: Path) -> None:
    pulled(out, "--label", "either", "--with-unlabelled")
    from_folder = out.read_bytes()
    at(site, hospital())
    from_server(site, out, "--label", "either", "--with-unlabelled")
    assert out.read_bytes() == from_folder
    assert adds_up(described(out)["counts"])


def test_a_panel_is_found_where_the_server_searches_components(site: Site, out: Path) -> None:
    part = {"code": {"coding": [{"system": "http://loinc.org", "code": "38264-8"}]}, "valueQuantity": {"value": -3.3}}
    panel = {**dxa("e", 0, 5), "code": {"text": "DXA"}, "component": [part]}
    del panel["valueQuantity"]
    at(site, [*hospital(), panel])
    ended = from_server(site, out)
    said = "components_not_searched" in ended.stderr
    assert said is ("0.85" not in labels(out))


def test_a_server_is_not_written_to(site: Site, out: Path) -> None:
    at(site, hospital())

    def held() -> list[tuple[str, str, str]]:
        kinds = ("Patient", "Observation", "Condition", "MedicationRequest", "RiskAssessment", "Device")
        found = [resource for kind in kinds for resource in site.search(kind, _tag="|".join(site.tag))]
        return sorted((r["resourceType"], r["id"], r["meta"]["versionId"]) for r in found)

    before = held()
    assert len(before) == len(hospital())
    from_server(site, out)
    assert held() == before
    assert site.search("RiskAssessment", subject=f"Patient/canaryid-{site.name}-a") == []
    assert not (site.folder / "state.sqlite").exists()


def test_a_sites_own_codes_label_too(tmp_path: Path) -> None:
    """The laboratory's own code of a T-score and of a diagnosis: unseen without the tables, seen with them, and listed."""
    local = "https://hospital.example/codes"
    own = dxa("a", -3.0, 5, "DXA-L")
    own["code"]["coding"][0]["system"] = local
    resources = [woman("a"), *stay("a", mg="0.81"), own, woman("b"), *stay("b", mg="0.82"), dxa("b", -1.0)]
    resources += [woman("c"), *stay("c", mg="0.83"), condition("c", local, "OST", day(-10))]
    export(tmp_path / "export", resources)
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "women.csv"
    pulled(out, "--label", "either")
    assert labels(out) == {"0.82": "0"}
    (tmp_path / "t.csv").write_text(f"system,code,site,source\n{local},DXA-L,hip,our DXA\n")
    (tmp_path / "d.csv").write_text(f"resources,system,code,match,source\nCondition,{local},OST,exact,our coding\n")
    (tmp_path / "screener.toml").write_text('[cohort]\nt_scores = "t.csv"\ndiagnoses = "d.csv"\n')
    pulled(out, "--label", "either")
    assert labels(out) == {"0.81": "1", "0.82": "0", "0.83": "1"}
    assert f"{local}|DXA-L" in described(out)["label"]["t_score_codes"]
    assert f"{local}|OST (exact)" in described(out)["label"]["diagnosis_codes"]


def test_a_sites_table_that_cannot_be_used_is_named_with_row_and_columns(tmp_path: Path, out: Path) -> None:
    (tmp_path / "t.csv").write_text("system,kode\nhttps://hospital.example/codes,DXA-L\n")
    (tmp_path / "screener.toml").write_text('[cohort]\nt_scores = "t.csv"\n')
    ended = command(tmp_path, "--from", "export", "--out", str(out), expect=2)
    assert "cohort.t_scores: row 1 cannot be used" in ended.stderr
    assert "system, code, site" in ended.stderr
    assert list(out.parent.iterdir()) == []
