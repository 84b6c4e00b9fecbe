"""`screener retract`, `suppressions`, `purge`: what a site no longer wants to stand."""

import sys
from typing import TYPE_CHECKING

import click

from screener.base.errors import ConfigurationError
from screener.commands._options import Common, settings_options
from screener.commands.run import progress_bar

if TYPE_CHECKING:
    from screener.run.undo import Confirm, Target, Undone
    from screener.state import SuppressionKind

RETRACT_EPILOG = """\b
Examples:
  screener retract --run 0b6f... --dry-run           how many assessments it is about
  screener retract --run 0b6f...                     all that this run created or amended
  screener retract --artefact shi2026-mg-category@1.0.0    all nomograms of a model
  screener retract --patient 4711 --yes              without a question, for scripts
"""

_run_id = click.option(
    "--run", "run_id", metavar="ID", help="What this run wrote, as far as no later run has written it again."
)
_artefact = click.option("--artefact", metavar="ID@VERSION", help="Every nomogram of this model.")
_patient = click.option(
    "--patient", metavar="ID", help="Both assessments of this patient (her logical id at the source)."
)
_dry_run = click.option("--dry-run", is_flag=True, help="Count, and write nothing.")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.command(epilog=RETRACT_EPILOG)
@_run_id
@_artefact
@_patient
@_dry_run
@_yes
@settings_options
def retract(
    common: Common, *, run_id: str | None, artefact: str | None, patient: str | None, dry_run: bool, yes: bool
) -> None:
    """Mark assessments as entered in error, and keep later runs from writing them again.

    Nothing is deleted: who looks at an assessment sees that the site took it back. What was taken back is suppressed (a run's
    assessments, a model's nomograms, a patient) until `screener suppressions lift`. A call that was cut short is called again.
    """
    from screener.run.undo import open_place
    from screener.run.undo import retract as take_back

    target = _target(run_id, artefact, patient)
    settings = common.settings()
    with open_place(settings, "retract", dry=dry_run) as place, progress_bar(common, "assessments") as progress:
        found = take_back(place, target, _confirm(yes=yes), progress)
    _say(found, "marked as entered in error")
    click.get_current_context().exit(int(found.exit_code))


@click.command(
    epilog="""\b
Example:
  screener purge --dry-run
"""
)
@_dry_run
@_yes
@settings_options
def purge(common: Common, *, dry_run: bool, yes: bool) -> None:
    """Delete every assessment of ours, and our Devices, from the server.

    For the end of a trial. Where people may have seen the assessments, `screener retract` leaves a trace and this does not. The
    watermarks are forgotten with them: only a backfill writes again.
    """
    from screener.run.undo import open_place
    from screener.run.undo import purge as delete_all

    settings = common.settings()
    with open_place(settings, "purge", dry=dry_run) as place, progress_bar(common, "resources") as progress:
        found = delete_all(place, _confirm(yes=yes), progress)
    _say(found, "deleted")
    click.get_current_context().exit(int(found.exit_code))


@click.group(
    epilog="""\b
Examples:
  screener suppressions list
  screener suppressions lift 3
"""
)
def suppressions() -> None:
    """What `screener retract` keeps later runs from writing: list it, lift it."""


@suppressions.command("list")
@settings_options
def list_(common: Common) -> None:
    """Print every suppression, those that were lifted included.

    \b
    Example:  screener suppressions list
    """
    from screener.state import State

    with State.to_read(common.settings().state.url) as state:
        rows = state.suppressions()
    for row in rows:
        click.echo(
            f"{row.number}\t{row.kind} {row.name}\tsince {row.since}\t{f'lifted {row.lifted}' if row.lifted else 'holds'}"
        )
    if not rows:
        click.echo("There are none.")


LIFT_EPILOG = """\b
Examples:
  screener suppressions lift 3                       as `screener suppressions list` numbers them
  screener suppressions lift --run 0b6f...           where the state does not know it any more
"""


@suppressions.command(epilog=LIFT_EPILOG)
@click.argument("number", type=click.IntRange(min=1), required=False)
@_run_id
@_artefact
@_patient
@_dry_run
@_yes
@settings_options
def lift(
    common: Common,
    *,
    number: int | None,
    run_id: str | None,
    artefact: str | None,
    patient: str | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Let later runs write again what was taken back; a backfill brings it back.

    What is meant is NUMBER, or is named as for `screener retract`. The assessments on the server say themselves that the site took them
    back, so the server is asked and written to.
    """
    from screener.run.undo import Target, lift, open_place
    from screener.state import State

    settings = common.settings()
    if number is None:
        target = _target(run_id, artefact, patient)
    elif run_id or artefact or patient:
        raise click.UsageError("Give NUMBER, or one of --run, --artefact and --patient")
    else:
        with State.to_read(settings.state.url) as state:
            held = [row for row in state.suppressions() if row.number == number and row.lifted is None]
        if not held:
            raise ConfigurationError(f"No suppression {number} holds", "`screener suppressions list` has their numbers")
        target = Target(held[0].kind, held[0].name)
    with open_place(settings, "lift", dry=dry_run) as place, progress_bar(common, "assessments") as progress:
        # What a number names is lifted without a question, as long as no assessment was taken back by it.
        found = lift(place, target, _confirm(yes=yes or number is not None), progress)
    _say(found, "let stand again")
    if not dry_run:
        click.echo("Lifted. `screener run --backfill` writes what ought to stand.")
    click.get_current_context().exit(int(found.exit_code))


def _target(run_id: str | None, artefact: str | None, patient: str | None) -> "Target":
    from screener.commands.run import check_patient_ids
    from screener.run.undo import Target

    given: dict[SuppressionKind, str | None] = {"run": run_id, "artefact": artefact, "patient": patient}
    targets = [Target(kind, name) for kind, name in given.items() if name]
    if len(targets) != 1:
        raise click.UsageError("Give one of --run, --artefact and --patient")
    if artefact and "@" not in artefact:
        raise click.UsageError("A model is named by id and version: ID@VERSION, as a run's summary has them")
    check_patient_ids([patient] if patient else [])
    return targets[0]


def _confirm(*, yes: bool) -> "Confirm":
    def confirm(what: str) -> None:
        if yes:
            return
        if not sys.stdin.isatty():
            raise ConfigurationError(
                "This asks before it writes, and there is no terminal to ask at", "Add --yes, or look with --dry-run"
            )
        click.confirm(f"{what}. Go on?", abort=True)

    return confirm


def _say(found: "Undone", verb: str) -> None:
    if found.dry:
        click.echo(f"{found.found} on {found.host} would be {verb}; nothing was written")
    else:
        click.echo(f"{found.done} of {found.found} on {found.host} {verb}")
    if found.already:
        click.echo(f"Taken back before: {found.already}")
    if found.later:
        click.echo(f"Left as they are, for a later run has written them again (retract that run): {found.later}")
    if found.others:
        click.echo(f"Of another source system below the same canonical, left as they are: {found.others}")
    if found.failed:
        click.echo(f"Could not be written: {found.failed}. Call it again")
