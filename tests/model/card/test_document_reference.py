"""The DocumentReference, judged by fhir.resources."""

import base64
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from fhir.resources.R4B.documentreference import DocumentReference

from model.artefact import load_artefact
from model.card import document_reference
from model.errors import ModelError
from screener.commands.model_card import card as command

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
ARTEFACT = {"id": "ours", "version": "1.2.3", "title": "Ours", "checksum": "ab"}
TEXT = "# Card\n\nT <= -2.5, beta \u03b2\n"


def test_it_is_valid_and_gives_the_card_back() -> None:
    resource = document_reference(TEXT, ARTEFACT, NOW, "https://hospital.example/")
    DocumentReference.model_validate(resource)
    attachment = resource["content"][0]["attachment"]
    data = base64.b64decode(attachment["data"])
    assert data.decode() == TEXT
    assert attachment["size"] == len(data) == len(TEXT) + 1  # the one letter of two bytes
    assert base64.b64decode(attachment["hash"]) == hashlib.sha1(data, usedforsecurity=False).digest()
    assert resource["status"] == "current"
    assert resource["date"] == "2026-03-04T05:06:07+00:00"
    assert resource["identifier"] == [{"system": "https://hospital.example/model-card", "value": "ours-1.2.3-ab"}]


@pytest.mark.parametrize(
    ("date", "base", "message"),
    [
        (NOW.replace(tzinfo=None), "https://hospital.example", "has no time zone"),
        (NOW, "hospital", "'hospital' is no URL"),
    ],
)
def test_what_would_not_be_valid_is_refused(date: datetime, base: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        document_reference(TEXT, ARTEFACT, date, base)


def test_the_command_writes_both(tmp_path: Path) -> None:
    out, reference = tmp_path / "card.md", tmp_path / "card.json"
    result = CliRunner().invoke(command, ["--out", str(out), "--document-reference", str(reference)])
    assert result.exit_code == 0
    resource = json.loads(reference.read_text(encoding="utf-8"))
    DocumentReference.model_validate(resource)
    assert base64.b64decode(resource["content"][0]["attachment"]["data"]) == out.read_bytes()
    assert load_artefact().checksum in out.read_text(encoding="utf-8")


def test_the_command_prints_a_shipped_model() -> None:
    result = CliRunner().invoke(command, ["--artefact", "shi2026-mg-continuous"])
    assert result.exit_code == 0
    assert result.output.startswith("# Model card: Six-predictor nomogram of Shi et al. 2026, magnesium as a number")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--artefact", "unknown"],
            "cannot read the model unknown: No such file or directory. Give a file, or one of shi",
        ),
        (["--artefact", __file__], "is not whole JSON"),
    ],
)
def test_the_command_refuses_what_it_cannot_find(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code != 0
    assert message in str(result.exception)
