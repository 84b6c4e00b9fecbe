"""The command line: a lazy table of commands, the one printer of errors, the exit codes.

Nothing heavy is imported here: a command's own module is loaded when it is called, so that `--help` answers at once.
"""

import itertools
import json
import os
import shutil
import sys
import textwrap
from importlib import import_module

import click

from screener import __version__
from screener.base.errors import ConfigurationError, ExitCode, Interrupted, ScreenerError, as_screener_error

COMMANDS = {
    "run": ("screener.commands.run:run", "Bring the assessments up to date with the results."),
    "schedule": ("screener.commands.schedule:schedule", "Run every night, and a full reconcile every week."),
    "doctor": (
        "screener.commands.doctor:doctor",
        "Whether an installation is ready: machine, server, grants, schedule.",
    ),
    "coverage": ("screener.commands.coverage:coverage", "What a source holds, before anything is installed."),
    "explain": ("screener.commands.explain:explain", "Everything about one patient: what was found, and what follows."),
    "runs": ("screener.commands.runs:runs", "The ledger: which runs there were, what one did, how two differ."),
    "retract": ("screener.commands.retract:retract", "Take back what a run, a model or a patient's results led to."),
    "suppressions": ("screener.commands.retract:suppressions", "What was taken back and must not be written again."),
    "purge": ("screener.commands.retract:purge", "Delete everything of ours from the server."),
    "export": ("screener.commands.export:export", "Fetch what a backfill reads as files (Bulk Data Access)."),
    "serve": ("screener.commands.serve:serve", "Answer a record system at the visit (CDS Hooks)."),
    "model": ("screener.commands.model:model", "The published model: its evidence, its artefact, a site's own data."),
    "outcomes": ("screener.commands.outcomes:outcomes", "What became of the women who were assessed: DXA afterwards."),
    "plan": ("screener.commands.plan:plan", "Which threshold a site can afford, and what it would find."),
    "codes": ("screener.commands.codes:codes", "The value sets behind the exclusions, from a terminology server."),
    "conformance": ("screener.commands.conformance:conformance", "What we write, described in FHIR, as a package."),
    "keys": ("screener.commands.keys:keys", "The keys that sign requests for tokens (SMART Backend Services)."),
    "config": ("screener.commands.config:config", "Show or check the effective configuration."),
    "sandbox": (
        "screener.commands.sandbox:sandbox",
        "The embedded FHIR server, and synthetic patients for any server.",
    ),
    "completion": ("screener.commands.completion:completion", "Completion of commands and options in a shell."),
}


class LazyGroup(click.Group):
    """Commands by name; a module is imported when its command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """From the table, so that `screener --help` imports no command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


EPILOG = """\b
Try it without a server:
  screener sandbox demo
A first look at your own server, writing nothing:
  SCREENER_SERVER_BASE_URL=https://fhir.hospital.example/fhir screener run --backfill --dry-run

\b
Exit codes: 0 done, 2 usage or configuration, 3 finished but some patients failed,
4 server or authorisation, 5 another run holds the lease, 6 time is up,
7 the difference is larger than the limits allow and nothing was written, 1 anything else.
"""


@click.group(
    cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="screener")
def cli() -> None:
    """Find postmenopausal women who may be worth a DXA scan, from what a FHIR server already knows.

    screener reads laboratory results, weight and height, and keeps two RiskAssessments of each eligible woman up to date with
    them: the risk by a published nomogram, and the flag "serum magnesium at or below 0.845 mmol/L".
    """


def main() -> None:
    """Entry point: run the command; print a ScreenerError as one message, and leave with its exit code."""
    if sys.platform == "win32":
        sys.exit("screener runs on Linux and macOS. On Windows use WSL 2 or a container (docs/schedule.md).")
    try:
        # What a command gave to Context.exit, or what it returned.
        code = cli.main(prog_name="screener", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except ScreenerError as error:
        _say(error)
        sys.exit(int(error.exit_code))
    except click.ClickException as error:
        usage = ConfigurationError(error.format_message())
        _summarise(usage)
        if _as_json():
            _say(usage)
        else:
            error.show()
        sys.exit(int(ExitCode.USAGE))
    except (click.Abort, KeyboardInterrupt):
        _say(Interrupted("Stopped", "What was written is right; the watermark has not moved"))
        sys.exit(int(ExitCode.INTERRUPTED))
    except Exception as error:  # noqa: BLE001 - a traceback may quote patient data
        said = as_screener_error(error)
        _say(said)
        sys.exit(int(said.exit_code))


def _say(error: ScreenerError) -> None:
    """One message on standard error; one JSON line where the log is JSON."""
    if _as_json():
        line = {
            "event": "failed",
            "level": "error",
            "error": error.what,
            "remedy": error.remedy,
            "exit_code": int(error.exit_code),
        }
        click.echo(json.dumps(line), err=True)
        return
    colour = not os.environ.get("NO_COLOR")
    head = click.style("Error:", fg="red", bold=True) if colour else "Error:"
    click.echo(f"{head} {_fitted(str(error))}", err=True)


def _fitted(text: str) -> str:
    """On a terminal, lines that break between words."""
    if not sys.stderr.isatty():
        return text
    width = shutil.get_terminal_size().columns
    wrapper = textwrap.TextWrapper(width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    first, *others = text.splitlines()
    # The first line follows "Error: ".
    return "\n".join([wrapper.fill(f"Error: {first}").removeprefix("Error: "), *map(wrapper.fill, others)])


def _summarise(error: ScreenerError) -> None:
    """A run whose options cannot be read has a summary, too, where one was asked for."""
    given = sys.argv[1:]
    if given[:1] == ["run"]:
        from screener.commands.run import tell_usage_error

        named = [later for earlier, later in itertools.pairwise(given) if earlier == "--summary"]
        named += [word.partition("=")[2] for word in given if word.startswith("--summary=")]
        tell_usage_error(error, named[-1] if named else "", as_json=_as_json())


def _as_json() -> bool:
    """Whether the call asks for JSON: known before, and where, its options cannot be read."""
    given = sys.argv[1:]
    return "--log-format=json" in given or ("--log-format", "json") in itertools.pairwise(given)
