"""`screener config`: what holds, and whether it can hold."""

import json
from pathlib import Path

import click

from screener.commands._options import settings_options

EPILOG = """\b
Example:
  SCREENER_WRITE=on screener config show
"""


@click.group(epilog=EPILOG)
def config() -> None:
    """Show or check the effective configuration: file, profile, environment."""


@config.command()
@settings_options
def show(config_file: Path | None, profile: str | None, log_format: str, verbose: bool) -> None:  # noqa: ARG001
    """Print the effective configuration as JSON, secrets removed.

    \b
    Example:  screener config show --profile hapi-sandbox
    """
    from screener.config.settings import load

    click.echo(json.dumps(load(config_file, profile).shown(), indent=2))


@config.command()
@settings_options
def check(config_file: Path | None, profile: str | None, log_format: str, verbose: bool) -> None:  # noqa: ARG001
    """Find every problem at once: keys, values, the model file, the site's tables.

    \b
    Example:  screener config check --config /etc/screener/screener.toml
    """
    from screener.config.settings import InvalidSettings, load
    from screener.run.preflight import problems

    found = problems(load(config_file, profile))
    if found:
        raise InvalidSettings(found)
    click.echo("The configuration is in order.")
