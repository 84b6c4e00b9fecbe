"""`screener sandbox demo`: the job as an operator would run it, on an embedded server with synthetic patients."""

import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from fhir_fixtures.population import generate
from model import MG_CUT_OFF_MMOL_L
from screener.assessment.identity import Canonical
from screener.assessment.resource import Json, local_id
from screener.base.errors import ExitCode, ScreenerError
from screener.clinical.records import Method
from screener.config.servers import ServerSettings
from screener.fhir.bundles import ENCODER
from screener.fhir.client import Client
from screener.fhir.search import search
from screener.sandbox.app import SandboxServer
from screener.sandbox.seeding import SEED_TAG, seed
from screener.stores.server_destination import DECODER

_MAGNESIUM = "http://loinc.org|2601-3,http://loinc.org|19123-9"


class Demo:
    """Four runs of the job: everyone, everyone again, two results change, one night later."""

    def __init__(self, patients: int) -> None:
        self._patients = patients

    def play(self) -> None:
        """Raises ScreenerError where a run does not do what it shows."""
        with SandboxServer() as server, tempfile.TemporaryDirectory(prefix="screener-demo-") as folder:
            client = Client(ServerSettings(base_url=server.base_url))
            self._environment = _environment(server.base_url, Path(folder))
            _say(f"An embedded FHIR server is on {client.host}. Loading {self._patients} synthetic patients ...")
            resources = generate(self._patients, 1, datetime.now(UTC).date(), tag=SEED_TAG)
            _say(f"{seed(client, resources, lambda _: None)} resources loaded.")
            self._screener("The first run looks at everyone:", "run", "--backfill")
            self._screener("The same again: what stands is right, and nothing is written:", "run", "--backfill")
            self._change_results(client)
            self._screener(
                "One night later: the corrected result amends, the withdrawn one retracts:", "run", "--show-patients"
            )
            client.close()
        _say("Next, a first look at your own server, which writes nothing:")
        click.secho(
            "  SCREENER_SERVER_BASE_URL=https://fhir.hospital.example/fhir screener run --backfill --dry-run", bold=True
        )

    def _screener(self, why: str, *arguments: str) -> None:
        _say(why)
        click.secho(f"$ screener {' '.join(arguments)}", bold=True)
        sys.stdout.flush()
        ended = subprocess.run([sys.executable, "-m", "screener", *arguments], env=self._environment, check=False)  # noqa: S603 - our own program
        if ended.returncode != ExitCode.DONE:
            raise ScreenerError(
                f"The run ended with exit code {ended.returncode}", "Please report this with its output"
            )

    def _change_results(self, client: Client) -> None:
        standing = _found(client, "RiskAssessment", [("method", f"{Canonical().method}|{Method.NOMOGRAM}")])
        _say("The laboratory corrects one magnesium result, and withdraws another woman's only one.")
        corrected = next((r for r in standing if _lowered(_magnesium_behind(client, r))), None)
        withdrawn = next((r for r in standing if r is not corrected and _only_magnesium(client, r)), None)
        if corrected is None or withdrawn is None:
            raise ScreenerError("This population has no women for the demonstration", "Ask for more patients")
        _put(client, _lowered(_magnesium_behind(client, corrected)))
        _put(client, {**_only_magnesium(client, withdrawn), "status": "entered-in-error"})


def _magnesium_behind(client: Client, assessment: Json) -> Json:
    names = [local_id(entry["reference"]) for entry in assessment["basis"]]
    found = _found(client, "Observation", [("_id", ",".join(names)), ("code", _MAGNESIUM)])
    return found[0]


def _only_magnesium(client: Client, assessment: Json) -> Json:
    """Her magnesium result, or nothing where she has several."""
    subject = assessment["subject"]["reference"]
    results = _found(client, "Observation", [("subject", subject), ("code", _MAGNESIUM)])
    return results[0] if len(results) == 1 else {}


def _lowered(observation: Json) -> Json:
    """The result corrected to the other side of the cut-off, or nothing where it is not a little above it in mmol/L."""
    quantity = observation["valueQuantity"]
    if quantity.get("code") != "mmol/L" or not MG_CUT_OFF_MMOL_L < quantity["value"] < Decimal("0.95"):
        return {}
    return {**observation, "status": "corrected", "valueQuantity": {**quantity, "value": Decimal("0.79")}}


def _found(client: Client, kind: str, params: list[tuple[str, str]]) -> list[Json]:
    return [DECODER.decode(found.raw) for found in search(client, kind, [*params, ("_count", "500")])]


def _put(client: Client, resource: dict[str, Any]) -> None:
    path = f"{resource['resourceType']}/{resource['id']}"
    client.write("PUT", path, ENCODER.encode(resource), what="a changed result")


def _environment(base_url: str, folder: Path) -> dict[str, str]:
    """The settings of the demonstration, as an operator would set them; none of the caller's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SCREENER_")}
    empty = folder / "screener.toml"
    empty.touch()
    return {
        **kept,
        "SCREENER_CONFIG": str(empty),
        "SCREENER_SERVER_BASE_URL": base_url,
        "SCREENER_WRITE": "on",
        "SCREENER_ACKNOWLEDGE_UNCALIBRATED": "true",
        "SCREENER_SERVER_OVERLAP_MINUTES": "0",  # this server commits in order; so the nightly run shows what it looks at
        "SCREENER_STATE_URL": f"sqlite:///{folder / 'state.sqlite'}",
    }


def _say(text: str) -> None:
    click.echo(f"\n{text}")
