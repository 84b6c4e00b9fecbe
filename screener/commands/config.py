"""`screener config`: what holds, and whether it can hold."""

import json

import click

from screener.commands._options import Common, settings_options

EPILOG = """\b
Example:
  SCREENER_WRITE=on screener config show
"""


@click.group(epilog=EPILOG)
def config() -> None:
    """Show or check the effective configuration: file, profile, environment."""


@config.command()
@settings_options
def show(common: Common) -> None:
    """Print the effective configuration as JSON, secrets removed.

    \b
    Example:  screener config show --profile hapi-sandbox
    """
    click.echo(json.dumps(common.settings().shown(), indent=2))


@config.command()
@click.option("--folders", is_flag=True, help="The job works from folder to folder: no server is needed.")
@settings_options
def check(common: Common, *, folders: bool) -> None:
    """Find every problem at once: keys, values, files, the state's place, and what must be said before anything is written.

    No server is asked: `screener doctor` does that.

    \b
    Example:  screener config check --config /etc/screener/screener.toml
    """
    from screener.config.loading import InvalidSettings
    from screener.operations.doctor.preflight import problems

    found = problems(common.examined(), folders_only=folders)
    if found:
        raise InvalidSettings(found)
    click.echo("The configuration is in order.")
