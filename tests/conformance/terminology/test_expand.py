"""Codes of the value sets from a terminology server.

`fragment.json` is a piece of a hierarchy with four codes of nobody (900000001 to 900000004), as a newer edition might add them.
"""

import csv
import json
from pathlib import Path

import pytest
import requests

from screener.clinical.mapping import Mapper, MappingTables
from screener.clinical.records import Exclusion
from tests.command import Ended, screener
from tests.scripted import Reply, scripted

FRAGMENT = Path(__file__).with_name("fragment.json")
SNOMED = "http://snomed.info/sct"


def expand(folder: Path, base_url: str, *options: str, expect: int = 0) -> Ended:
    server = {"SCREENER_SERVER_BASE_URL": base_url, "SCREENER_SERVER_ATTEMPTS": "1"}
    out = str(folder / "expanded.csv")
    return screener("codes", "expand", "--out", out, *options, cwd=folder, expect=expect, **server)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "expanded.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(line for line in stream if not line.startswith("#")))


def excluded(folder: Path, code: str) -> list[str]:
    concept = {"coding": [{"system": SNOMED, "code": code}]}
    condition = {"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p"}, "code": concept}
    found = Mapper(MappingTables.default(expanded=rows(folder))).map(json.dumps(condition).encode())
    return [row.rule for row in found if isinstance(row, Exclusion)]


@pytest.mark.hapi
def test_descendants_from_a_real_server(hapi: str, tmp_path: Path) -> None:
    # HAPI takes a fragment of any code system but SNOMED CT's own: that one has to be called complete.
    fragment = json.loads(FRAGMENT.read_text(encoding="utf-8")) | {
        "id": "screener-test-fragment",
        "content": "complete",
    }
    sent = requests.put(f"{hapi}/CodeSystem/screener-test-fragment", json=fragment, timeout=60)
    assert sent.status_code in (200, 201), sent.text
    expand(tmp_path, hapi, expect=4)  # it lacks most of the concepts
    ended = expand(tmp_path, hapi, "--accept-smaller")
    added = {(row["value_set"], row["code"]) for row in rows(tmp_path)}
    assert {("malignancy", "900000001"), ("renal", "900000003")} <= added
    # A basal cell carcinoma excludes nobody, whatever else it is; and stage 1 is not below stage 4.
    assert ("skin_cancer_non_melanoma", "900000002") in added
    assert ("malignancy", "900000002") not in added
    assert "900000004" not in {code for _, code in added}
    assert "on no shipped list" in ended.stdout
    assert excluded(tmp_path, "900000001") == ["malignancy"]
    assert excluded(tmp_path, "900000002") == []
    assert all(row["source"].startswith("$expand is-a ") for row in rows(tmp_path))


def page(codes: list[str], total: int) -> Reply:
    contains = [{"system": SNOMED, "code": code} for code in codes]
    return Reply(body={"resourceType": "ValueSet", "expansion": {"total": total, "contains": contains}})


def test_pages_are_put_together(tmp_path: Path) -> None:
    codes = [f"9100{number:04}" for number in range(2500)]

    def answer(request: object) -> Reply:
        asked = {p["name"]: p for p in json.loads(request.body)["parameter"]}  # type: ignore[attr-defined]
        offset, count = asked["offset"]["valueInteger"], asked["count"]["valueInteger"]
        return page(codes[offset : offset + count], len(codes))

    with scripted(answer) as server:
        expand(tmp_path, server.base_url)
    assert {
        row["code"] for row in rows(tmp_path) if row["value_set"] == "malignancy"
    } == set()  # all are skin cancers, too
    assert {row["code"] for row in rows(tmp_path) if row["value_set"] == "skin_cancer_non_melanoma"} == set(codes)


MALIGNANCY = "363346000"


@pytest.mark.parametrize(
    ("reply", "words", "accepted"),
    [
        (page([], 0), f"expands {MALIGNANCY} to nothing", True),
        (page([], 40), "counts 40 codes", False),
        (Reply(422, {"resourceType": "OperationOutcome", "issue": [{"code": "too-costly"}]}), "422", False),
        (page([f"9200{number:04}" for number in range(17)], 17), f"{MALIGNANCY} (3 of 20)", True),
    ],
)
def test_a_concept_that_lost_its_codes_leaves_the_old_file(
    tmp_path: Path,
    reply: Reply,
    words: str,
    accepted: bool,  # noqa: FBT001
) -> None:
    replies = {MALIGNANCY: page([f"9200{number:04}" for number in range(20)], 20)}

    def answer(request: object) -> Reply:
        wanted = json.loads(request.body)["parameter"][0]["resource"]["compose"]  # type: ignore[attr-defined]
        root = wanted["include"][0]["filter"][0]["value"]
        return replies.get(root, page([f"93{root}"], 1))

    with scripted(answer) as server:
        expand(tmp_path, server.base_url)
        old = (tmp_path / "expanded.csv").read_text()
        replies[MALIGNANCY] = reply
        ended = expand(tmp_path, server.base_url, expect=4)
        assert words in ended.stderr
        assert (tmp_path / "expanded.csv").read_text() == old
        ended = expand(tmp_path, server.base_url, "--accept-smaller", expect=0 if accepted else 4)
    assert ("no longer among them" in ended.stderr) is accepted


@pytest.mark.parametrize("status", [500, 404, 200])
def test_a_server_that_cannot_leaves_the_old_file(tmp_path: Path, status: int) -> None:
    old = "value_set,system,code,source\nrenal,http://snomed.info/sct,900000009,before\n"
    (tmp_path / "expanded.csv").write_text(old)
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "not-found"}]}
    with scripted(lambda _: Reply(status=status, body=outcome)) as server:
        ended = expand(tmp_path, server.base_url, expect=4)
    assert (tmp_path / "expanded.csv").read_text() == old
    assert [path.name for path in tmp_path.iterdir()] == ["expanded.csv"]
    assert "Error:" in ended.stderr


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "expanded.csv").write_text("value_set,system,code\nno-such,http://snomed.info/sct,1\n")
    (tmp_path / "screener.toml").write_text('[codes]\nexpanded = "expanded.csv"\n')
    ended = screener("run", "--backfill", "--from", "x", "--to", "y", cwd=tmp_path, expect=2)
    assert "row 1 cannot be used" in ended.stderr, ended.stderr
