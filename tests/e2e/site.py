"""A small hospital in a test: a server, a tag of its own, and the job with its settings."""

import json
import signal
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.command import Ended, arguments_of, clean_environment, screener
from tests.fhir_samples import observation, patient

Json = dict[str, Any]


@dataclass
class RunEnded(Ended):
    """A run that has ended, with its summary."""

    summary: Json


@dataclass
class Site:
    """One test's share of a FHIR server: what carries its tag, and assessments under canonical URLs of its own."""

    base_url: str
    folder: Path
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def tag(self) -> tuple[str, str]:
        return ("https://example.org/test", self.name)

    @property
    def canonical(self) -> str:
        return f"https://example.org/test/{self.name}"

    def id(self, short: str) -> str:
        return f"{short}-{self.name}"

    # The server, as anybody else would use it.

    def put(self, resource: Json) -> Json:
        """Create or update a resource, tagged."""
        tagged = {**resource, "meta": {"tag": [{"system": self.tag[0], "code": self.tag[1]}]}}
        answer = requests.put(f"{self.base_url}/{resource['resourceType']}/{resource['id']}", json=tagged, timeout=30)
        assert answer.status_code in (200, 201), answer.text
        stored: Json = answer.json()
        return stored

    def put_all(self, resources: Sequence[Json], name: str = "") -> None:
        """The same for many at once, in one batch; with a name, each type's one resource gets its id from it."""
        system, code = self.tag
        if name:
            resources = [{**resource, "id": self.id(name)} for resource in resources]
        entries = [
            {
                "resource": {**resource, "meta": {"tag": [{"system": system, "code": code}]}},
                "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"},
            }
            for resource in resources
        ]
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
        answer = requests.post(self.base_url, json=bundle, timeout=30)
        assert answer.status_code == 200, answer.text
        assert {entry["response"]["status"][:3] for entry in answer.json()["entry"]} <= {"200", "201"}

    def delete(self, path: str) -> None:
        assert requests.delete(f"{self.base_url}/{path}", timeout=30).status_code in (200, 204)

    def read(self, path: str) -> Json:
        answer = requests.get(f"{self.base_url}/{path}", timeout=30)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def search(self, kind: str, **params: str) -> list[Json]:
        answer = requests.get(
            f"{self.base_url}/{kind}",
            params={"_count": "500", **params},
            headers={"Cache-Control": "no-cache"},
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        return [entry["resource"] for entry in answer.json().get("entry", [])]

    def woman(self, short: str = "w1", **fields: Any) -> str:
        """An eligible woman; returns her id."""
        self.put(patient(self.id(short), **fields))
        return self.id(short)

    def see_whole_server(self) -> None:
        """No tag narrows a run from here. What other tests left is read, too, so one resource of each excluding type stands
        here: a first run stops where many patients have none of a type."""
        self.environment["SCREENER_SERVER_ONLY_TAG"] = ""
        name = self.woman("seen")
        self.stay("seen", "2025-11-01", markers=False)  # who has no magnesium is asked for nothing else
        about = {"subject": {"reference": f"Patient/{name}"}}
        active = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]}
        paracetamol = {"medicationCodeableConcept": {"text": "Paracetamol 500 mg"}, **about}
        self.put_all(
            [
                {"resourceType": "Condition", "clinicalStatus": active, "code": {"text": "Hypertension"}, **about},
                {"resourceType": "Procedure", "status": "completed", "code": {"text": "Colonoscopy"}, **about},
                {"resourceType": "MedicationRequest", "status": "active", "intent": "order", **paracetamol},
                {"resourceType": "MedicationStatement", "status": "active", **paracetamol},
                {
                    "resourceType": "MedicationAdministration",
                    "status": "completed",
                    "effectiveDateTime": "2020-01-01",
                    **paracetamol,
                },
                {"resourceType": "MedicationDispense", "status": "completed", **paracetamol},
            ],
            name="seen",
        )

    def stay(self, short: str, day: str, mg: str = "0.84", *, markers: bool = True) -> str:
        """One stay's results for a woman; returns the id of the magnesium result."""
        for result in self.results(short, day, mg, markers=markers):
            self.put(result)
        return self.id(f"{short}-mg-{day}")

    def results(self, short: str, day: str, mg: str = "0.84", *, markers: bool = True) -> list[Json]:
        """The results of a stay, not stored yet."""
        values = {"mg": mg}
        if markers:
            values |= {"p": "1.10", "ctx": "0.47", "p1np": "54.0", "weight": "60.0", "height": "158.0"}
        return [
            observation(self.id(f"{short}-{analyte}-{day}"), self.id(short), analyte, value, f"{day}T08:00:00Z")
            for analyte, value in values.items()
        ]

    def assessments(self, short: str, method: str = "") -> list[Json]:
        """Her assessments of ours, by method."""
        code = f"{self.canonical}/CodeSystem/method|{method}" if method else ""
        params = {"method": code} if code else {}
        found = self.search("RiskAssessment", subject=f"Patient/{self.id(short)}", **params)
        return sorted(found, key=lambda resource: str(resource["method"]["coding"][0]["code"]))

    # The job, through its front door.

    def settings(self) -> dict[str, str]:
        config = self.folder / "screener.toml"
        config.touch()
        return {
            "SCREENER_CONFIG": str(config),
            "SCREENER_SERVER_BASE_URL": self.base_url,
            "SCREENER_SERVER_ONLY_TAG": "|".join(self.tag),
            "SCREENER_OUTPUT_TAG": "|".join(self.tag),
            "SCREENER_OUTPUT_CANONICAL": self.canonical,
            "SCREENER_STATE_URL": f"sqlite:///{self.folder / 'state.sqlite'}",
            "SCREENER_WRITE": "on",
            "SCREENER_ACKNOWLEDGE_UNCALIBRATED": "true",
            **self.environment,
        }

    def run(self, *arguments: str, expect: Any = 0, **environment: str) -> RunEnded:
        """`screener run` with a summary; the exit code must be the expected one."""
        summary = self.folder / f"summary-{uuid.uuid4().hex}.json"
        ended = self.call("run", *arguments, "--summary", str(summary), expect=expect, **environment)
        written = json.loads(summary.read_text()) if summary.exists() else {}
        return RunEnded(ended.exit_code, ended.stdout, ended.stderr, written)

    def call(self, *arguments: str, expect: Any = 0, **environment: str) -> Ended:
        """Any command with this site's settings."""
        return screener(*arguments, cwd=self.folder, expect=expect, **{**self.settings(), **environment})

    def start(self, *arguments: str, **streams: Any) -> "subprocess.Popen[str]":
        """The same as a process of its own, which runs on."""
        environment = {**clean_environment(), **self.settings()}
        return subprocess.Popen(arguments_of(*arguments), env=environment, cwd=self.folder, text=True, **streams)

    def run_and_kill(self, *arguments: str, after_seconds: float) -> None:
        """`screener run`, killed without warning."""
        started = self.start("run", *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            started.wait(after_seconds)
        except subprocess.TimeoutExpired:
            started.send_signal(signal.SIGKILL)
            started.wait(30)


def writes(**counts: int) -> dict[str, int]:
    """The `writes` of a summary; what is not named is 0."""
    names = ("created", "amended", "retracted", "unchanged", "stands", "failed")
    return {name: counts.get(name, 0) for name in names}
