"""The pages of the reference, made from the code: command line, configuration, and what a run's summary says.

python -m tests.reference      writes docs/command-line.md, docs/configuration.md and docs/summary.md
"""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from screener.commands.cli import COMMANDS, cli
from screener.config.loading import SECTIONS
from screener.config.settings import Settings
from screener.run.summary import schema

DOCS = Path(__file__).parents[1] / "docs"
CASES = Path(__file__).parents[1] / "fhir_fixtures" / "cases"
_MADE = "<!-- Made from the code by `python -m tests.reference`: change that. -->\n"


# The command line


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name, groups before their members."""
    yield name, command
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for each in command.list_commands(context):
                found = command.get_command(context, each)
                assert found is not None
                yield from commands(found, f"{name} {each}")


def command_line() -> str:
    """docs/command-line.md."""
    lines = ["# Command line", "", _MADE]
    lines += [
        "`screener COMMAND --help` says the same, with examples. [Exit codes](exit-codes.md) are the same for all.",
        "",
    ]
    lines += ["| command | what it does |", "|---|---|"]
    lines += [f"| [`screener {name}`](#screener-{name}) | {_cell(text)} |" for name, (_, text) in COMMANDS.items()]
    common: set[str] = set()
    for name, command in commands(cli, "screener"):
        if name == "screener":
            continue
        lines += ["", f"{'##' if name.count(' ') == 1 else '###'} {name}", "", *_paragraphs(command.help or "")]
        rows = [_option(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)]
        own = [row for row in rows if row[0] not in _COMMON]
        common |= {row[0] for row in rows} & set(_COMMON)
        if own:
            lines += ["", "| option | default | what it does |", "|---|---|---|"]
            lines += [f"| {option} | {default} | {text} |" for option, default, text in own]
    lines += ["", "## Options of nearly every command", "", "| option | what it does |", "|---|---|"]
    assert common == set(_COMMON)
    lines += [f"| {option} | {text} |" for option, text in _COMMON.items()]
    return "\n".join(lines) + "\n"


_COMMON = {
    "`--config PATH`": "TOML file; `screener.toml` of the working folder if it is there",
    "`--profile TEXT`": "a profile of the file, or `hapi-sandbox`",
    "`--log-format [text, json]`": "log, errors and summary as text or as JSON",
    "`-v`, `--verbose`": "say more",
    "`-q`, `--quiet`": "say only what went wrong, and no progress",
}


def _paragraphs(text: str) -> list[str]:
    """The help as Markdown: paragraphs on one line, blocks of examples as code that is not run (the examples of --help are)."""
    found = []
    for part in re.split(r"\n\s*\n", text.replace("\b\n", "").strip()):
        if part.strip().startswith("Example"):
            continue
        found += [" ".join(part.split()).replace("<", "&lt;"), ""]
    return found[:-1]


def _option(parameter: click.Parameter) -> tuple[str, str, str]:
    if isinstance(parameter, click.Argument):
        return f"`{parameter.make_metavar(click.Context(cli))}`", "", "argument"
    assert isinstance(parameter, click.Option)
    kind = "" if parameter.is_flag else f" {_metavar(parameter)}"
    names = ", ".join(f"`{name}{kind if name.startswith('--') else ''}`" for name in parameter.opts)
    shown = parameter.default if parameter.show_default and not callable(parameter.default) else None
    required = "required" if parameter.required else ""
    return names, required or ("" if shown is None else f"`{shown}`"), _cell(parameter.help or "")


def _metavar(option: click.Option) -> str:
    if option.metavar:
        return option.metavar.replace("|", "\\|")
    if isinstance(option.type, click.Choice):
        return f"[{', '.join(map(str, option.type.choices))}]"
    return option.type.name.upper().replace(" RANGE", "")


# The configuration


def configuration() -> str:
    """docs/configuration.md."""
    lines = ["# Configuration", "", _MADE]
    lines += [
        "Later ones win: the defaults below, a profile, the file (`--config`, `SCREENER_CONFIG`, or `screener.toml` in the working",
        "folder), the environment, options of the command. `SCREENER_SERVER_PAGE_SIZE` is `page_size` in `[server]`; `SCREENER_WRITE`",
        "is `write` at the top of the file. Relative paths count from where the file lies. An unknown key is an error.",
        "`screener config check` finds every problem, `screener config show` prints what holds.",
    ]
    lines += ["", "## At the top of the file", "", *_keys(Settings)]
    for name, section in SECTIONS.items():
        about = " ".join((section.__doc__ or "").split())
        lines += ["", f"## [{name}]", "", about, "", *_keys(section)]
    return "\n".join(lines) + "\n"


def _keys(section: Any) -> list[str]:
    rows = ["| key | default | what it is |", "|---|---|---|"]
    for key, field in section.model_fields.items():
        if section is Settings and key in SECTIONS:
            continue
        bounds = _bounds(field)
        text = _cell(field.description or key.replace("_", " "))
        rows.append(f"| `{key}` | {_default(field)} | {text}{f' ({bounds})' if bounds else ''} |")
    return rows


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if isinstance(value, int | float | Decimal) else f'`"{value}"`'


def _bounds(field: FieldInfo) -> str:
    kind: Any = field.annotation
    if get_origin(kind) is Literal:
        return " or ".join(f'`"{choice}"`' for choice in get_args(kind))
    if SecretStr in get_args(kind):
        return ""
    found = []
    for limit, words in (("ge", "from"), ("gt", "above"), ("le", "to"), ("lt", "below")):
        found += [
            f"{words} {getattr(each, limit):,}" for each in field.metadata if getattr(each, limit, None) is not None
        ]
    return " ".join(found)


# The summary

# What each reason of an outcome means; `*` stands for names that follow from tables.
REASONS = {
    "scored": {"complete": "all six predictors were found, or a reduced nomogram serves (`policy.reduced_nomograms`)"},
    "flag_only": {
        "missing_*": "what the nomogram lacks around the magnesium result: `missing_ctx+p1np`; `mg_value` is a magnesium known only "
        "as beyond a limit",
        "bmi_implausible": "weight and height give a body mass index that nobody has",
        "predictors_implausible": "her values are possible one by one, and not together",
        "too_young": "at the nomogram's magnesium result she was too young; so for all reasons of not_eligible",
    },
    "not_eligible": {
        "excluded_*": "a diagnosis, a procedure, a medicine or a measurement of that rule ([Exclusions](exclusions.md))",
        "too_young": "younger than `policy.minimum_age_years` on the day of the result",
        "age_uncertain": "the birth date leaves open whether she is old enough",
        "birth_date_missing": "no birth date, or one that is none",
        "birth_date_implausible": "older than 115 years by her birth date: a placeholder such as 1900-01-01",
        "sex_male": "the sex is male",
        "sex_other": "the sex is recorded as other",
        "sex_unknown": "no sex is recorded",
        "sex_not_clear": "recorded sex and administrative gender contradict each other, and no sex parameter for clinical use decides "
        "(`policy.sex_not_clear`)",
        "premenopausal": "documented as premenopausal within `policy.premenopause_days`",
        "perimenopausal": "documented as perimenopausal within that time",
        "deceased": "she has died",
        "inactive": "the Patient is not active",
        "merged": "the Patient was merged into another",
        "osteoporosis_documented": 'osteoporosis is documented, and `policy.documented = "skip"`',
        "opted_out": "she objected (`opted_out`)",
        "suppressed": "what was written of her was taken back, and the suppression holds",
    },
    "not_scorable": {
        "no_magnesium": "no magnesium result within the lookback",
        "magnesium_refused": "there are results, and none can be used (`refusals` says why)",
        "patient_missing": "the Patient cannot be read",
        "no_destination_patient": "the other server does not know her by `destination.patient_identifier`",
    },
    "failed": {
        "exclusions_unreadable": "a record that may exclude her is not what FHIR says",
        "internal_error": "a record that the program cannot cope with: please report it",
        "invalid_resource": "the assessment would not be valid FHIR: please report it",
        "write_conflict": "somebody else wrote the assessment twice while the run did",
        "write_rejected": "the server refused the assessment",
    },
}


def summary() -> str:
    """docs/summary.md."""
    found = schema()
    lines = ["# The summary of a run", "", _MADE]
    lines += [
        "`screener run --summary FILE` writes it on every exit, and `--log-format json` prints it on standard output. The JSON Schema",
        "is `screener/run/summary.schema.json`; keys are only added within one `schema_version`.",
    ]
    lines += ["", "## Keys", "", "| key | what it is |", "|---|---|"]
    lines += [f"| `{key}` | {_about(key, part)} |" for key, part in found["properties"].items()]
    lines += ["", "## Outcomes and their reasons", "", "Each patient is counted once."]
    for outcome, reasons in REASONS.items():
        lines += ["", f"### {outcome}", "", "| reason | meaning |", "|---|---|"]
        lines += [f"| `{reason}` | {_cell(text)} |" for reason, text in reasons.items()]
    return "\n".join(lines) + "\n"


def _about(key: str, part: dict[str, Any]) -> str:
    return _cell(part.get("description") or _ABOUT[key])


# Of keys whose schema needs no words.
_ABOUT = {
    "run_id": "names the run in the ledger, in logs and in the report",
    "mode": "`nightly`, `backfill` or `named`",
    "started": "the run's instant: the server's clock before the first query",
    "model": "id, version, checksum and calibration of the model",
    "patients_seen": "patients that the run looked at",
    "writes": "assessments by what became of them; in a dry run by what would",
    "requests": "requests that were sent",
    "retries": "of them those that were sent again",
    "bytes_read": "bytes read from servers and files",
    "seconds": "how long the run took",
    "peak_rss_bytes": "memory at most, of all its processes",
    "watermark": "since when the run looked for changes, and since when the next one will",
    "exit_code": "see [Exit codes](exit-codes.md)",
    "limits_exceeded": "each limit of `[limits]` that the difference exceeds, in words",
    "schema_version": "of this document",
}


def reasons_of_the_cases() -> set[tuple[str, str]]:
    """Every outcome and reason that some case expects."""
    found = set()
    for file in CASES.glob("*.json"):
        expected = json.loads(file.read_text(encoding="utf-8")).get("expected", {})
        if "outcome" in expected:
            found.add((expected["outcome"], expected["reason"]))
    return found


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


PAGES = {"command-line.md": command_line, "configuration.md": configuration, "summary.md": summary}

if __name__ == "__main__":
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf-8")
