"""Settings: which layer wins, and that every problem is named at once."""

import hashlib
import json
from pathlib import Path

import pytest

from screener.base.errors import ConfigurationError
from screener.config.loading import InvalidSettings, examine, load
from screener.config.settings import CodeSettings, Settings
from screener.config.tables import SiteTable, described, site_tables
from screener.operations.doctor.preflight import problems
from screener.operations.schedule import triggers

DEPLOYED = Path(__file__).parents[1] / "deploy" / "screener.toml"


def test_later_layers_win(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(
        'write = "on"\n[server]\npage_size = 10\nbatch_patients = 11\nattempts = 2\n[profile.p.server]\nbatch_patients = 12\nattempts = 3\n'
    )
    environment = {"SCREENER_SERVER_ATTEMPTS": "4", "SCREENER_PROFILE": "p"}
    settings = load(file, flags={"server": {"timeout_seconds": 5}}, environment=environment)
    assert (settings.write, settings.server.page_size, settings.server.batch_patients) == ("on", 10, 12)
    assert (settings.server.attempts, settings.server.timeout_seconds) == (4, 5)


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text('wrtie = "on"\n[server]\npage_size = 0\ntoken = "secret"\n[policy]\nlookback = 3\n')
    with pytest.raises(InvalidSettings) as caught:
        load(file, environment={"SCREENER_SEVER_BASE_URL": "x"})
    assert {problem.key for problem in caught.value.problems} == {
        "wrtie",
        "server.page_size",
        "server.token",
        "policy.lookback",
        "SCREENER_SEVER_BASE_URL",
    }
    assert "secret" not in str(caught.value)
    said = str(caught.value)
    assert "policy.lookback = (not shown): unknown key; did you mean lookback_days?" in said
    assert "did you mean write?" in said
    assert "did you mean SCREENER_SERVER_BASE_URL?" in said


def test_secrets_are_not_shown() -> None:
    environment = {
        "SCREENER_SERVER_TOKEN": "secret-1",
        "SCREENER_STATE_URL": "postgresql+psycopg://me:secret-2@db.example/screener",
    }
    settings = load(environment=environment)
    assert "secret" not in str(settings.shown())
    assert settings.server.token is not None
    assert "secret" not in repr(settings)


def test_unknown_profile_and_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Known profiles: hapi-sandbox"):
        load(profile="nowhere", environment={})
    with pytest.raises(ConfigurationError, match=r"Cannot read missing\.toml"):
        load(tmp_path / "missing.toml", environment={})
    broken = tmp_path / "broken.toml"
    broken.write_text("write = \n")
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        load(broken, environment={})


def test_the_public_sandbox_is_written_to_only_under_our_tag() -> None:
    settings = load(profile="hapi-sandbox", environment={})
    assert settings.server.only_tag == settings.output.tag != ""
    assert settings.server.page_size <= 500


def test_the_example_that_is_shipped_is_in_order() -> None:
    assert load(DEPLOYED, environment={}).write == "off"


def test_the_selection_digest_follows_what_decides_who_is_seen() -> None:
    plain = Settings()
    other = load(flags={"policy": {"lookback_days": 100}}, environment={})
    same = load(flags={"server": {"page_size": 7}}, environment={})
    assert plain.selection_digest("t") == same.selection_digest("t")
    assert len({plain.selection_digest("t"), other.selection_digest("t"), plain.selection_digest("u")}) == 3


@pytest.mark.parametrize(
    ("key", "value"), [("timezone", "Mars/Olympus"), ("nightly", "every night"), ("backfill", "61 4 * * 0")]
)
def test_a_schedule_that_cannot_be_read(key: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"schedule.{key}"):
        triggers(load(flags={"schedule": {key: value}}, environment={}).schedule)


def test_a_file_of_settings_names_others_from_where_it_lies(tmp_path: Path) -> None:
    file = tmp_path / "etc" / "screener.toml"
    file.parent.mkdir()
    file.write_text(
        'model = "site.json"\n[codes]\ncodes = "tables/codes.csv"\nunits = "/opt/units.csv"\n'
        '[profile.test.server]\ntoken_file = "token"\n'
    )
    found = load(file, "test", environment={"SCREENER_COHORT_DIAGNOSES": "here.csv"})
    assert found.model == str(tmp_path / "etc" / "site.json")
    assert found.codes.codes == tmp_path / "etc" / "tables" / "codes.csv"
    assert found.codes.units == Path("/opt/units.csv")
    assert found.server.token_file == tmp_path / "etc" / "token"
    assert found.cohort.diagnoses == Path("here.csv")  # a variable is the caller's


def test_the_id_of_a_shipped_model_is_no_file(tmp_path: Path) -> None:
    file = tmp_path / "screener.toml"
    file.write_text('model = "shi2026-mg-continuous"\n')
    assert load(file, environment={}).model == "shi2026-mg-continuous"


@pytest.mark.parametrize(
    "environment",
    [
        {"SCREENER_SERVER_TOKN": "CANARY"},
        {"SCREENER_DESTINATION_TOKEN": "CANARY", "SCREENER_DESTINATION_BASE_URL": "https://a.example"},
        {"SCREENER_STATE_URLL": "postgresql://u:CANARY@db/x"},
        {"SCREENER_SERVER_PASSWORD": "CANARY"},
        {"SCREENER_SERVER_BASE_URL": "https://u:CANARY@fhir.example/fhir?key=CANARY", "SCREENER_SERVER_PAGE_SIZE": "0"},
    ],
)
def test_values_of_unknown_keys_and_secrets_are_not_in_errors(environment: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load(environment=environment)
    assert "CANARY" not in str(caught.value)


def test_shown_settings_hold_no_secret() -> None:
    address = "https://user:CANARY@fhir.example/fhir?key=CANARY"
    settings = load(
        environment={"SCREENER_SERVER_BASE_URL": address, "SCREENER_STATE_URL": "postgresql://u:CANARY@db/x"}
    )
    shown = settings.shown()
    assert "CANARY" not in json.dumps(shown)
    assert shown["server"]["base_url"] == "https://***@fhir.example/fhir"


def test_a_problem_of_one_key_hides_no_other(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(
        'write = "on"\n[server]\npage_size = 0\ntoken_file = "nowhere"\nbase_url = "https://fhir.example/fhir"\n'
        '[schedule]\ntimezone = "Europe/Berln"\nnightly = "61 * * *"\nbackfill = "never"\n'
        '[codes]\nunits = "units.csv"\ncodes = "codes.csv"\n[state]\nurl = "sqlite:////nowhere/at/all.sqlite"\n'
    )
    (tmp_path / "codes.csv").write_text("# reviewed: yesterday\nsystem,code,analyte\nhttp://loinc.org,1-8,gold\n")
    found = {problem.key: problem.remedy for problem in problems(examine(file, environment={}))}
    assert set(found) == {
        *("server.page_size", "server.base_url", "acknowledge_uncalibrated", "output.canonical", "state.url"),
        *(
            "schedule.timezone",
            "schedule.nightly",
            "schedule.backfill",
            "codes.units",
            "codes.codes",
            "codes.unreviewed",
        ),
    }
    assert str(tmp_path / "nowhere") in found["server.base_url"]
    assert "/nowhere/at" in found["state.url"]


def test_a_job_on_folders_needs_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = examine(environment={})
    assert [problem.key for problem in problems(found)] == ["server.base_url"]
    assert problems(found, folders_only=True) == []
    assert list(tmp_path.iterdir()) == []  # to look makes no state


REVIEWED = "# version: 3\n# reviewed by: A. Example\n# reviewed: 2026-03-14\n"


@pytest.mark.parametrize("header", ["", "# version: 3\n", REVIEWED])
def test_a_table_says_who_stands_for_it(header: str, tmp_path: Path) -> None:
    path = tmp_path / "units.csv"
    path.write_text(f"{header}analyte,unit,numerator,denominator\nmg,mmol/kg,1,1\n")
    given = CodeSettings(units=path)
    assert "mmol/kg" in {row.unit for row in site_tables(given).units}
    (table,) = described(given)
    assert (table.name, table.file, table.is_reviewed) == ("units", "units.csv", header == REVIEWED)
    assert table.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    strict = CodeSettings(units=path, unreviewed="refuse")
    if header == REVIEWED:
        assert described(strict) == (SiteTable("units", "units.csv", table.sha256, "3", "A. Example", "2026-03-14"),)
    else:
        with pytest.raises(ConfigurationError, match=r"Nobody has reviewed units\.csv"):
            described(strict)


def test_every_path_in_a_file_is_taken_from_where_the_file_lies(tmp_path: Path) -> None:
    """Whatever settings there are: one was forgotten once (opted_out)."""
    (tmp_path / "screener.toml").write_text('opted_out = "objections.txt"\n[folder]\ntemporary = "scratch"\n')
    found = load(tmp_path / "screener.toml", environment={})
    assert (found.opted_out, found.folder.temporary) == (tmp_path / "objections.txt", tmp_path / "scratch")
