"""The conformance resources, and what we write held against them by HL7's own validator."""

import io
import json
import os
import re
import subprocess
import tarfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import requests

from fhir_fixtures import cases
from model import SHIPPED, load_artefact
from screener.assessment.identity import Canonical
from screener.assessment.reconcile import Rules, reconcile
from screener.assessment.validate import Validator
from screener.clinical.judge import judge
from screener.clinical.policy import Policy
from screener.clinical.records import Analyte
from screener.conformance import resources
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
        ["java", "-cp", path, "Validate", str(folder / "package.ndjson"), str(folder / "resources.ndjson"), *profiles],
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
    terminology = [resource for resource in FOUND if resource["resourceType"] != "StructureDefinition"]
    right = [*terminology, *written]
    wrong = list(damaged())
    found = validated(tmp_path, [*right, *wrong])
    assert {int(line.partition("\t")[0]) for line in found} == {len(right) + 1 + n for n in range(len(wrong))}


def damaged() -> Iterable[Json]:
    """Flags without their level, with a level that is none, and with an unknown part in an extension of ours."""
    flag = next(r for r in ended_assessments() if r["method"]["coding"][0]["code"] == "mg-flag")
    prediction = flag["prediction"][0]
    yield {**flag, "prediction": [{k: v for k, v in prediction.items() if k != "qualitativeRisk"}]}
    level = {"coding": [{"system": CANONICAL.side, "code": "high"}]}
    yield {**flag, "prediction": [{**prediction, "qualitativeRisk": level}]}
    part = {"url": CANONICAL.extension("evidence"), "extension": [{"url": "x", "valueCode": "y"}]}
    yield {**flag, "extension": [part]}


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
    assert len(ours) == 6
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
