"""`screener keys`: the keys by which an authorisation server knows this job (SMART Backend Services)."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from screener.commands._options import FileToWrite

if TYPE_CHECKING:
    from screener.fhir.keys import Algorithm

EPILOG = """\b
Examples:
  screener keys new --out keys.json                 then name it in server.private_keys
  screener keys public keys.json > jwks.json        register jwks.json at the authorisation server
  screener keys rotate keys.json                    a new key signs; the old one stays public
  screener keys rotate keys.json --forget-old       once the server knows the new one
"""

_file = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
_algorithm = click.option(
    "--algorithm",
    type=click.Choice(["ES384", "RS384"]),
    default="ES384",
    show_default=True,
    help="Servers know at least one of the two; ask yours.",
)


@click.group(epilog=EPILOG)
def keys() -> None:
    """The keys that sign requests for tokens (SMART Backend Services): make, publish, rotate."""


@keys.command()
@click.option("--out", type=FileToWrite(), required=True, help="File to make, for its owner only.")
@_algorithm
def new(out: Path, algorithm: "Algorithm") -> None:
    """Make a private key. Whoever holds the file can act as this job: keep it where secrets are kept.

    \b
    Example:  screener keys new --out keys.json
    """
    from screener.fhir import keys as made

    if out.exists():
        raise click.UsageError(f"{out.name} is there already; to replace its key: screener keys rotate {out.name}")
    key = made.new(algorithm)
    made.write(out, [key])
    click.echo(f"{out}: a private key for {algorithm}, id {key['kid']}")


@keys.command()
@_file
def public(file: Path) -> None:
    """Print the public keys as a JWK Set, to register at the authorisation server or to publish at a URL.

    \b
    Example:  screener keys public keys.json > jwks.json
    """
    from screener.fhir import keys as made

    click.echo(json.dumps(made.public(made.read(file)), indent=2))


@keys.command()
@_file
@_algorithm
@click.option("--forget-old", is_flag=True, help="Make no key; remove all but the one that signs.")
def rotate(file: Path, algorithm: "Algorithm", *, forget_old: bool) -> None:
    """Put a new key first, which signs from now on. The old ones stay public until --forget-old.

    A server that is given the keys by hand must know the new one before the next run: print and register them at once.

    \b
    Example:  screener keys rotate keys.json
    """
    from screener.fhir import keys as made

    held = made.read(file)
    kept = held[:1] if forget_old else [made.new(algorithm), *held]
    made.write(file, kept)
    click.echo(f"{file}: {len(kept)} key{'s' if len(kept) > 1 else ''}; {kept[0]['kid']} signs")
