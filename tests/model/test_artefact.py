"""The artefact as a file: what it says, where each number comes from, and what is refused."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from model import ALL_PREDICTORS, ArtefactError, ModelError, load_artefact
from model import SHIPPED as NAMES_SHIPPED
from model.artefact import checksum, write_artefact
from tests.model.reference import NAMES, shipped

ARTEFACTS = files("model") / "artefacts"
SHIPPED = (ARTEFACTS / "shi2026-mg-category.json").read_text(encoding="utf-8")
SCHEMA = json.loads((ARTEFACTS / "artefact.schema.json").read_text(encoding="utf-8"))


def altered(tmp_path: Path, change: Callable[[dict[str, Any]], object], *, resealed: bool = True) -> Path:
    """The shipped artefact with a change, and with the checksum that fits it unless `resealed` is false."""
    document = json.loads(SHIPPED)
    change(document)
    if resealed:
        document["checksum"] = checksum(document)
    path = tmp_path / "site.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", NAMES_SHIPPED)
def test_the_shipped_artefacts_follow_the_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads((ARTEFACTS / f"{name}.json").read_text()))
    assert load_artefact(name).id == name


def test_the_schema_names_every_predictor_in_its_order() -> None:
    assert SCHEMA["$defs"]["predictor"]["properties"]["name"]["enum"] == list(ALL_PREDICTORS)
    assert SCHEMA["$defs"]["reduced"]["properties"]["predictors"]["items"]["enum"] == list(ALL_PREDICTORS)


def test_an_artefact_that_is_not_shipped_is_named() -> None:
    with pytest.raises(ArtefactError, match=r"cannot read the model shi2027: .* or one of shi2026-mg-category,"):
        load_artefact("shi2027")


@pytest.mark.parametrize(
    ("available", "name"),
    [
        ("mg", None),
        ("age bmi mg", "age-bmi-mg"),
        ("age bmi mg p1np", "age-bmi-mg"),
        ("age bmi mg p", "age-bmi-mg-p"),
        ("age bmi mg p ctx", "age-bmi-mg-p-ctx"),
        ("age bmi mg p p1np", "age-bmi-mg-p-p1np"),
        ("age bmi mg ctx p1np", "age-bmi-mg-ctx-p1np"),
        ("age bmi mg p ctx p1np", "age-bmi-mg-p-ctx"),
    ],
)
def test_the_reduced_nomogram_that_uses_most(available: str, name: str | None) -> None:
    have = {full for full in NAMES if full.partition("_")[0] in available.split()}
    found = load_artefact().reduced_for(have)
    assert (found.name if found else None) == name


def test_a_reduced_nomogram_has_its_own_numbers() -> None:
    artefact = load_artefact()
    (reduced,) = (n for n in artefact.reduced if n.name == "age-bmi-mg")
    assert reduced.covariance.shape == (4, 4)
    assert reduced.expected_auc is not None
    assert artefact.expected_auc is not None
    assert 0.68 < reduced.expected_auc < artefact.expected_auc
    assert [p.axis for p in reduced.predictors] == [p.axis for p in artefact.predictors[:3]]
    assert all(
        one.coefficient != other.coefficient
        for one, other in zip(reduced.predictors, artefact.predictors, strict=False)
    )


def test_identity_and_calibration() -> None:
    artefact = load_artefact()
    assert (artefact.id, artefact.calibration) == ("shi2026-mg-category", "published")
    assert artefact.checksum == checksum(json.loads(SHIPPED))
    assert tuple(predictor.name for predictor in artefact.predictors) == NAMES
    assert [p.form for p in artefact.predictors] == ["continuous", "continuous", "category", *["continuous"] * 3]


@pytest.mark.parametrize(
    ("name", "odds_ratio"),
    [("mg_mmol_l", "1.940"), ("ctx_ng_ml", "2.229"), ("age_years", "1.067"), ("bmi_kg_m2", "0.894")],
)
def test_the_published_odds_ratios_come_back_to_the_printed_digits(name: str, odds_ratio: str) -> None:
    (row,) = (row for row in shipped()["predictors"] if row["name"] == name)
    assert str(row["coefficient"].exp().quantize(Decimal("0.001"), ROUND_HALF_EVEN)) == odds_ratio
    assert row["provenance"]["kind"] == "published, borrowed"
    assert row["provenance"]["odds_ratio"] == Decimal(odds_ratio)


def test_every_coefficient_and_range_says_where_it_comes_from() -> None:
    artefact = load_artefact()
    kinds = {p.name: p.provenance["kind"] for p in artefact.predictors}
    assert [name for name, kind in kinds.items() if kind == "reconstructed"] == ["p_mmol_l", "p1np_ng_ml"]
    assert artefact.intercept_provenance["kind"] == "reconstructed"
    for provenance in (artefact.intercept_provenance, *(p.provenance for p in artefact.predictors)):
        assert provenance["kind"] == "published, borrowed" or provenance["spread"] > 0
    assert all(p.range_provenance["kind"] == "reconstructed" for p in artefact.predictors)


def test_the_model_cannot_be_changed_by_accident() -> None:
    artefact = load_artefact()
    with pytest.raises(dataclasses.FrozenInstanceError):
        artefact.intercept = 0.0
    with pytest.raises(ValueError, match="read-only"):
        artefact.covariance[0, 0] = 0.0


def test_numbers_have_at_most_ten_significant_digits() -> None:
    def numbers(value: Any) -> list[Decimal]:
        if isinstance(value, dict | list):
            return [n for part in (value.values() if isinstance(value, dict) else value) for n in numbers(part)]
        return [value] if isinstance(value, Decimal) else []

    assert max(len(number.normalize().as_tuple().digits) for number in numbers(shipped())) <= 10


def test_writing_and_reading_gives_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "again.json"
    write_artefact({k: v for k, v in json.loads(SHIPPED).items() if k != "checksum"}, path)
    assert path.read_text(encoding="utf-8") == SHIPPED
    assert [entry.name for entry in tmp_path.iterdir()] == ["again.json"]


def test_a_number_that_is_none_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_artefact({"intercept": float("nan")}, tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []


def _drop(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda document: document.pop(name)


def _put(*path: Any) -> Callable[[dict[str, Any]], object]:
    *keys, last, value = path

    def change(document: Any) -> None:
        for key in keys:
            document = document[key]
        document[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_put("schema_version", 2), "site.json has layout 2, newer than 1.* Update screener, or rebuild"),
        (_put("schema_version", "1"), "site.json is no model artefact"),
        (_put("schema_version", True), "site.json is no model artefact"),
        (_drop("schema_version"), "site.json is no model artefact"),
        (_drop("covariance"), "site.json lacks 'covariance'.* Rebuild it with `screener model build"),
        (_put("predictors", 0, "name", "height_cm"), "its predictors are height_cm,"),
        (_put("predictors", 4, "unit", "pg/mL"), "unit or form of ctx_ng_ml is unknown"),
        (_put("predictors", 3, "form", "category"), "only mg_mmol_l is a category, cut at 0.845"),
        (_put("predictors", 2, "cut_off", 0.85), "only mg_mmol_l is a category, cut at 0.845"),
        (_put("predictors", 0, "axis", [95.0, 50.0]), "does not run from a lower to a higher value"),
        (_put("predictors", 0, "axis", []), "site.json cannot be used"),
        (_put("predictors", 0, "coefficient", "much"), "site.json cannot be used"),
        (_put("predictors", 0, "provenance", {}), "does not say where it comes from"),
        (_put("predictors", None), "site.json cannot be used"),
        (_put("intercept", "value", 1e999), "site.json is not whole JSON"),  # written as Infinity
        (_put("calibration", "perfect"), "its calibration is neither published nor local"),
        (_put("interval_level", 95.0), "its interval level is not between 0 and 1"),
        (_put("covariance", 0, 0, -1.0), "not symmetric and positive semi-definite"),
        (_put("covariance", 0, 1, 0.5), "not symmetric and positive semi-definite"),
        (_put("covariance", [[1.0]]), "not a finite 7 x 7 matrix"),
        (_put("reduced", 0, "covariance", [[1.0]]), "not a finite 4 x 4 matrix"),
        (_put("reduced", 0, "predictors", 0, "height_cm"), "site.json lacks 'height_cm'"),
        (_put("reduced", 0, "predictors", ["bmi_kg_m2", "age_years", "mg_mmol_l"]), "are not in their order"),
        (_put("reduced", 0, "coefficients", [0.0, 0.0]), "site.json cannot be used"),
        (_put("reduced", 0, "provenance", {}), "does not say where it comes from"),
        (_put("expected_auc", "good"), "site.json cannot be used"),
    ],
)
def test_what_no_model_can_hold_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(ArtefactError, match=message):
        load_artefact(altered(tmp_path, change))


def test_a_tampered_coefficient_is_refused(tmp_path: Path) -> None:
    path = altered(tmp_path, _put("predictors", 0, "coefficient", 0.07), resealed=False)
    with pytest.raises(ArtefactError, match=r"site.json does not match its checksum: it was altered. Rebuild it"):
        load_artefact(path)


@pytest.mark.parametrize("kept", [0, 1, 1000, len(SHIPPED) - 3])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "half.json"
    path.write_text(SHIPPED[:kept], encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"half.json is not whole JSON: cut short"):
        load_artefact(path)


@pytest.mark.parametrize("text", ["[]", "1", "null", '"model"', '{"resourceType": "Bundle"}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"other.json is no model artefact. Name a file made by"):
        load_artefact(path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[" * 100_000])
def test_what_is_no_text_or_no_end_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"other.json is not whole JSON"):
        load_artefact(path)


def test_a_file_that_is_not_there_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read the model none.json: No such file.* Give a file"):
        load_artefact(tmp_path / "none.json")


def test_a_local_artefact_with_continuous_magnesium_can_be_used(tmp_path: Path) -> None:
    def continuous(document: dict[str, Any]) -> None:
        document["calibration"] = "local"
        mg = document["predictors"][2]
        del mg["cut_off"]
        mg.update(form="continuous", centre=0.85, coefficient=-6.0, axis=[0.5, 1.2])
        jsonschema.Draft202012Validator(SCHEMA).validate({**document, "checksum": "0" * 64})

    artefact = load_artefact(altered(tmp_path, continuous))
    assert artefact.calibration == "local"
    assert artefact.predictors[2].form == "continuous"


def test_importing_the_model_loads_numpy_and_nothing_heavier() -> None:
    code = "import sys, model; print(*sorted({n.partition('.')[0] for n in sys.modules} & {'scipy', 'pandas', 'sklearn', 'screener'}))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == ""


def test_covariance_is_at_least_the_published_uncertainty() -> None:
    # Six terms know each coefficient less well than the printed four (Table 3: 0.1995, 0.3921, 0.01196, 0.02823).
    errors = dict(zip(NAMES, np.sqrt(np.diag(load_artefact().covariance))[1:], strict=True))
    assert errors["mg_mmol_l"] == pytest.approx(0.1995, rel=0.02)
    assert errors["age_years"] == pytest.approx(0.01196, rel=0.02)
    assert errors["bmi_kg_m2"] == pytest.approx(0.02823, rel=0.02)
    assert 0.46 < errors["ctx_ng_ml"] < 0.57
