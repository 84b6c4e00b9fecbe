"""The conformance resources, and what we write held against them by HL7's own validator."""

import io
import json
import os
import re
import subprocess
import tarfile
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import requests
from fhirpathpy import evaluate
from fhirpathpy.models import models

from fhir_fixtures import cases
from fhir_fixtures.population import generate, write_ndjson
from model import SHIPPED, load_artefact
from screener.assessment.identity import Canonical
from screener.assessment.reconcile import Rules, reconcile
from screener.assessment.validate import Validator
from screener.clinical.exclusions import value_set, value_set_names
from screener.clinical.judge import judge
from screener.clinical.policy import Policy
from screener.clinical.records import Analyte
from screener.conformance import resources
from screener.sandbox.app import SandboxServer
from tests.builders import NOW_US, complete, record, refusal, woman, writer
from tests.command import Ended, screener
from tests.hapi import launcher

Json = dict[str, Any]
CANONICAL = Canonical()
FOUND = resources(CANONICAL, "0.1.0", [load_artefact(name) for name in SHIPPED])


def command(folder: Path, *arguments: str, **environment: str) -> Ended:
    state = {"SCREENER_STATE_URL": f"sqlite:///{folder / 'state.sqlite'}"}
    return screener(*arguments, cwd=folder, expect=None, **state, **environment)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Json]:
    """What the cases write, and assessments that ended."""
    return [*of_cases(tmp_path_factory.mktemp("cases")), *ended_assessments()]


def of_cases(folder: Path) -> list[Json]:
    """What runs over all cases without a configuration of their own write: one run for each instant, each case under ids of its own."""
    by_instant: dict[str, list[str]] = defaultdict(list)
    for number, case in enumerate(cases.load()):
        if case.site:
            continue
        for resource in case.resources:
            text = json.dumps(resource, default=float)
            text = re.sub(r'"((?:[A-Z][A-Za-z]+)/)([A-Za-z0-9.-]+)', rf'"\g<1>c{number}-\2', text)
            by_instant[case.now].append(json.dumps({**json.loads(text), "id": f"c{number}-{resource['id']}"}))
    written: list[Json] = []
    for number, (now, lines) in enumerate(sorted(by_instant.items())):
        source = folder / f"export-{number}"
        source.mkdir()
        (source / "all.ndjson").write_text("\n".join(lines) + "\n")
        out = folder / f"out-{number}"
        ended = command(
            folder,
            *("run", "--backfill", "--from", str(source), "--to", str(out), "--now", now),
            SCREENER_FOLDER_COMPLETE="true",
        )
        assert ended.exit_code in (0, 3), ended.stderr
        for name in ("RiskAssessment", "Device"):
            file = out / f"{name}.ndjson"
            written += [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return written


def ended_assessments() -> list[Json]:
    """Assessments that were taken back, and some that no longer apply."""
    rules = Rules(Policy(), writer(), NOW_US)
    standing = [c.resource for c in _changes(record(*complete()), [], rules)]
    stored = [{**r, "id": f"ra{n}"} for n, r in enumerate(standing) if r]
    dead = _changes(record(*complete(), person=woman(deceased=True)), stored, rules)
    withdrawn = _changes(record(*complete(), refusal(Analyte.MG, "withdrawn", withdrawn=True)), stored, rules)
    return [change.resource for change in (*dead, *withdrawn) if change.resource]


def _changes(patient: Any, standing: list[Json], rules: Rules) -> list[Any]:
    (verdict,) = judge([patient], rules.policy, rules.writer.artefact, NOW_US)
    return reconcile(verdict, standing, {}, rules)


def validated(folder: Path, found: Iterable[Json]) -> list[str]:
    """The validator's errors; a line each."""
    built = launcher.prepare()
    classes = folder / "classes"
    source = str(launcher.SERVER / "Validate.java")
    subprocess.run(["javac", "-nowarn", "-d", str(classes), "-cp", built.class_path, source], check=True)
    (folder / "package.ndjson").write_text("".join(json.dumps(resource) + "\n" for resource in FOUND))
    rows = list(found)
    (folder / "resources.ndjson").write_text("".join(json.dumps(resource, default=float) + "\n" for resource in rows))
    profiles = [f'"code": "{name}"={CANONICAL.extension(f"{name}-assessment")}' for name in ("nomogram", "mg-flag")]
    path = f"{classes}{os.pathsep}{built.class_path}"
    ended = subprocess.run(
        [
            "java",
            *launcher.JVM,
            "-cp",
            path,
            "Validate",
            str(folder / "package.ndjson"),
            str(folder / "resources.ndjson"),
            *profiles,
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=250,
    )
    lines = [line for line in ended.stdout.splitlines() if re.match(r"\d+(\t| validated$)", line)]
    assert lines[-1] == f"{len(rows)} validated"
    return lines[:-1]


@pytest.mark.hapi
def test_all_that_is_written_passes_the_validator_and_what_is_wrong_does_not(
    written: list[Json], tmp_path: Path
) -> None:
    assert len(written) > 200
    # A StructureDefinition of its own it validates only with the core package at hand; by ours it validates what is written.
    terminology = [shortened(resource) for resource in FOUND if resource["resourceType"] != "StructureDefinition"]
    right = [*terminology, *one_of_each_kind(written), report_of_a_run(tmp_path)]
    assert len(right) > len(terminology) + 40
    wrong = list(damaged())
    found = validated(tmp_path, [*right, *wrong])
    assert {int(line.partition("\t")[0]) for line in found} == {len(right) + 1 + n for n in range(len(wrong))}


def one_of_each_kind(found: Iterable[Json]) -> list[Json]:
    """Of resources that differ only in numbers, ids, times and texts of ours the first: to the validator they are alike."""
    return list({_kind(resource): resource for resource in reversed(list(found))}.values())


_SAID_BY_CODE = ("system", "code", "url", "status", "valueCode", "resourceType")


def _kind(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return tuple([(key, _kind(part, key)) for key, part in sorted(value.items())])
    if isinstance(value, list):
        return frozenset(_kind(part) for part in value)
    return value if name in _SAID_BY_CODE else type(value).__name__


def shortened(resource: Json) -> Json:
    """A ValueSet with the first codes of each system: the validator takes its time for 13,000, and all are alike."""
    if resource["resourceType"] != "ValueSet":
        return resource
    include = [
        {**part, **({"concept": part["concept"][:20]} if "concept" in part else {})}
        for part in resource["compose"]["include"]
    ]
    return {**resource, "compose": {"include": include}}


def report_of_a_run(folder: Path, *arguments: str) -> Json:
    """The MeasureReport of a run over synthetic patients."""
    write_ndjson(folder / "export", generate(400, 3, date(2026, 1, 31)))
    run = (
        "run",
        "--backfill",
        "--from",
        "export",
        "--to",
        "out",
        "--now",
        "2026-01-31T00:00:00Z",
        "--summary",
        "s.json",
    )
    assert command(folder, *run, SCREENER_FOLDER_COMPLETE="true").exit_code == 0
    name = json.loads((folder / "s.json").read_text())["run_id"]
    ended = command(folder, "runs", "measure", name[:8], "--out", "report.json", *arguments)
    assert ended.exit_code == 0, ended.stderr
    found: Json = json.loads((folder / "report.json").read_text())
    return found


def test_the_report_of_a_run_counts_as_the_run_and_hides_small_counts(tmp_path: Path) -> None:
    report = report_of_a_run(tmp_path)
    summary = json.loads((tmp_path / "s.json").read_text())
    (group,) = report["group"]
    counts = {p["code"]["coding"][0]["code"]: p.get("count") for p in group["population"]}
    assert counts["initial-population"] == 5 * round(summary["patients_seen"] / 5)
    assert counts["numerator"] == 5 * round(summary["flagged"] / 5)
    assert all(count is not None and count % 5 == 0 for count in counts.values())
    strata = {s["value"]["text"]: s["population"][0].get("count") for s in group["stratifier"][0]["stratum"]}
    reasons = {f"{o}: {r}": n for o, found in summary["outcomes"].items() for r, n in found.items()}
    assert strata.keys() == reasons.keys()
    assert {name for name, count in strata.items() if count is None} == {name for name, n in reasons.items() if n < 5}
    (described,) = (r for r in FOUND if r["resourceType"] == "Measure")
    assert report["measure"] == described["url"]


def test_what_the_plan_says_in_fhirpath_is_what_the_job_does() -> None:
    """Every Patient of the cases: the conditions hold for those whom no rule about the Patient keeps out, and only for them."""
    (plan,) = (r for r in FOUND if r["resourceType"] == "PlanDefinition")
    paths = [
        c["expression"]["expression"]
        for c in plan["action"][0]["condition"]
        if c["expression"]["language"] == "text/fhirpath"
    ]
    about_her = ("sex_", "deceased", "inactive", "merged", "too_young", "age_uncertain", "birth_date")
    agree = 0
    for case in cases.load():
        (person, *more) = [r for r in case.resources if r["resourceType"] == "Patient"] or [None]  # type: ignore[list-item]
        reason = case.expected["reason"]
        if person is None or more or case.site or case.invalid or _beyond_fhirpath(person, reason):
            continue
        on_the_day = [path.replace("today()", f"@{case.now[:10]}") for path in paths]
        holds = all(evaluate(person, path, {}, models["r4"]) == [True] for path in on_the_day)
        assert holds is not reason.startswith(about_her), (case.name, reason)
        agree += 1
    assert agree > 100


def _beyond_fhirpath(person: Json, reason: str) -> bool:
    """What the PlanDefinition leaves to the job: extensions for the sex, birth dates that are none, and an age on the result's day."""
    return (
        "extension" in person
        or reason in ("too_young", "age_uncertain")
        or len(str(person.get("birthDate"))) not in (4, 7, 10)
    )


def test_the_lists_hold_every_code_of_the_exclusions() -> None:
    sets = {r["url"].rpartition("/list-")[2]: r for r in FOUND if "/ValueSet/list-" in r.get("url", "")}
    for name in value_set_names():
        include = sets[name.replace("_", "-")]["compose"]["include"]
        exact = {(part["system"], one["code"]) for part in include for one in part.get("concept", ())}
        patterns = [(part["system"], part["filter"][0]["value"]) for part in include if "filter" in part]
        for code in value_set(name):
            if code.match == "prefix":
                assert any(
                    system == code.system and re.fullmatch(pattern, code.code + "9") for system, pattern in patterns
                )
            else:
                assert (code.system, code.code) in exact


def test_the_plan_refers_to_what_is_in_the_package() -> None:
    (plan,) = (r for r in FOUND if r["resourceType"] == "PlanDefinition")
    there = {r["url"] for r in FOUND}
    named = {f["valueSet"] for action in plan["action"] for need in action["input"] for f in need["codeFilter"]}
    named |= {profile for action in plan["action"] for out in action["output"] for profile in out["profile"]}
    assert len(named) > 20
    assert named <= there


def test_the_views_read_what_the_cases_hold(tmp_path: Path) -> None:
    assert command(tmp_path, "conformance", "--views", "views").exit_code == 0
    found = {
        view["resource"]: view for view in (json.loads(file.read_text()) for file in (tmp_path / "views").iterdir())
    }
    assert {"Patient", "Observation", "Condition", "MedicationRequest"} <= set(found)
    seen: dict[str, set[str]] = defaultdict(set)
    for case in cases.load():
        for resource in case.resources:
            view = found.get(resource["resourceType"])
            for column in view["select"][0]["column"] if view else ():
                values = evaluate(json.loads(json.dumps(resource, default=float)), column["path"], {}, models["r4"])
                assert len(values) <= 1, (case.name, column)
                if values:
                    seen[resource["resourceType"]].add(column["name"])
    assert {"id", "gender", "birth_date"} <= seen["Patient"]
    assert {"patient", "code", "value", "unit", "effective"} <= seen["Observation"]
    assert {"patient", "code", "onset"} <= seen["Condition"]


def damaged() -> Iterable[Json]:
    """Flags without their level, with a level that is none, and with an unknown part in an extension of ours."""
    flag = next(r for r in ended_assessments() if r["method"]["coding"][0]["code"] == "mg-flag")
    prediction = flag["prediction"][0]
    yield {**flag, "prediction": [{k: v for k, v in prediction.items() if k != "qualitativeRisk"}]}
    level = {"coding": [{"system": CANONICAL.side, "code": "high"}]}
    yield {**flag, "prediction": [{**prediction, "qualitativeRisk": level}]}
    part = {"url": CANONICAL.extension("evidence"), "extension": [{"url": "x", "valueCode": "y"}]}
    yield {**flag, "extension": [part]}


def test_the_embedded_server_takes_them_by_ids_of_its_own_and_again(tmp_path: Path) -> None:
    """A server may not let clients choose ids: what is there is found by its canonical URL."""
    base = "https://example.org/tests/conformance"
    with SandboxServer() as server:
        here = {"SCREENER_SERVER_BASE_URL": server.base_url, "SCREENER_OUTPUT_CANONICAL": base}
        loaded = []
        for _ in range(2):
            ended = command(tmp_path, "conformance", "--load", **here)
            assert ended.exit_code == 0, ended.stderr
            found = [
                entry["resource"]
                for kind in ("CodeSystem", "ValueSet", "StructureDefinition", "PlanDefinition")
                for entry in requests.get(f"{server.base_url}/{kind}", params={"_count": "500"}, timeout=60).json()[
                    "entry"
                ]
            ]
            loaded.append({resource["url"]: resource["id"] for resource in found})
            assert len(found) == len(loaded[-1]) > 20
        assert loaded[0] == loaded[1]


@pytest.mark.hapi
def test_a_real_server_takes_them(hapi: str, tmp_path: Path) -> None:
    base = "https://example.org/tests/conformance"
    ended = command(tmp_path, "conformance", "--load", SCREENER_SERVER_BASE_URL=hapi, SCREENER_OUTPUT_CANONICAL=base)
    assert ended.exit_code == 0, ended.stderr
    for kind, url in (
        ("CodeSystem", f"{base}/CodeSystem/caveat"),
        ("ValueSet", f"{base}/ValueSet/caveat"),
        ("StructureDefinition", f"{base}/StructureDefinition/nomogram-assessment"),
    ):
        answer = requests.get(f"{hapi}/{kind}", params={"url": url}, timeout=60).json()
        assert [entry["resource"]["url"] for entry in answer["entry"]] == [url]


def test_the_package_has_the_layout_of_npm_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    base = "https://hospital.example/fhir/osteoporosis"
    packages = []
    for name in ("one.tgz", "two.tgz"):
        ended = command(tmp_path, "conformance", "--out", name, SCREENER_OUTPUT_CANONICAL=base)
        assert ended.exit_code == 0, ended.stderr
        packages.append((tmp_path / name).read_bytes())
    assert packages[0] == packages[1]
    with tarfile.open(fileobj=io.BytesIO(packages[0])) as archive:
        files = {entry.name: json.load(archive.extractfile(entry) or io.BytesIO()) for entry in archive.getmembers()}
    manifest = files["package/package.json"]
    assert (manifest["canonical"], manifest["fhirVersions"]) == (base, ["4.0.1"])
    listed = {row["filename"]: row["url"] for row in files["package/.index.json"]["files"]}
    found = {name.removeprefix("package/"): body["url"] for name, body in files.items() if "url" in body}
    assert listed == found
    assert all(url.startswith(f"{base}/") for url in found.values())


def test_where_to_has_to_be_said(tmp_path: Path) -> None:
    ended = command(tmp_path, "conformance")
    assert (ended.exit_code, "--out FILE, --load" in ended.stderr) == (2, True)


def test_every_url_and_code_that_is_written_is_described(written: list[Json]) -> None:
    described = {resource["url"] for resource in FOUND}
    codes = {r["url"]: {c["code"] for c in r["concept"]} for r in FOUND if r["resourceType"] == "CodeSystem"}
    urls, coded = set(), set()
    for resource in written:
        for part in _objects(resource):
            urls.add(str(part.get("url", "")))
            coded.add((str(part.get("system", "")), str(part.get("code", ""))))
    ours = {url for url in urls if url.startswith(CANONICAL.base)}
    assert ours <= described
    assert len(ours) == 7
    wrong = {(s, c) for s, c in coded if s.startswith(f"{CANONICAL.base}/CodeSystem") and c not in codes[s]}
    assert wrong == set()
    assert all(Validator(every=True).problem(r) == "" for r in written if r["resourceType"] == "RiskAssessment")


def _objects(value: Any) -> Iterable[Json]:
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from _objects(part)
    elif isinstance(value, list):
        for part in value:
            yield from _objects(part)
