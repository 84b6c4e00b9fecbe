"""One test's share of a FHIR server: ids, codes and a tag that no other test uses, for the server may be shared."""

import uuid
from typing import Any, Self

import requests

from tests.contract.deviations import Deviation

Json = dict[str, Any]

FHIR_JSON = "application/fhir+json"
TAG_SYSTEM = "https://example.org/contract/tag"
CODE_SYSTEM = "https://example.org/contract/code"
IDENTIFIER_SYSTEM = "https://example.org/contract/identifier"


class Server:
    """Plain HTTP to a FHIR base, and resources of the test's own."""

    def __init__(self, name: str, base_url: str) -> None:
        self.name, self.base_url = name, base_url
        self.own = uuid.uuid4().hex[:12]
        self.session = requests.Session()
        self.session.headers.update({"Accept": FHIR_JSON, "Cache-Control": "no-cache"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def says(self, deviation: Deviation) -> Any:
        """The answer to expect: the specified one, or HAPI's own."""
        return deviation.hapi if self.name == "hapi" else deviation.specified

    @property
    def tag(self) -> str:
        return f"{TAG_SYSTEM}|{self.own}"

    def id(self, short: str) -> str:
        return f"{short}-{self.own}"

    def code(self, short: str) -> str:
        return f"{short}-{self.own}"

    # Resources

    def _meta(self) -> Json:
        return {"tag": [{"system": TAG_SYSTEM, "code": self.own}]}

    def patient(self, short: str = "p") -> Json:
        return {"resourceType": "Patient", "id": self.id(short), "meta": self._meta(), "active": True}

    def observation(self, short: str, of: str = "p", code: str = "mg", **fields: Any) -> Json:
        return {
            "resourceType": "Observation",
            "id": self.id(short),
            "meta": self._meta(),
            "status": "final",
            "code": {"coding": [{"system": CODE_SYSTEM, "code": self.code(code)}]},
            "subject": {"reference": f"Patient/{self.id(of)}"},
            **fields,
        }

    def assessment(self, identifier: str, of: str = "p", **fields: Any) -> Json:
        """Without an id: the server gives it."""
        return {
            "resourceType": "RiskAssessment",
            "meta": self._meta(),
            "identifier": [{"system": IDENTIFIER_SYSTEM, "value": self.id(identifier)}],
            "status": "final",
            "subject": {"reference": f"Patient/{self.id(of)}"},
            **fields,
        }

    def if_none_exist(self, identifier: str) -> str:
        return f"identifier={IDENTIFIER_SYSTEM}|{self.id(identifier)}"

    # Requests

    def send(self, method: str, path: str = "", body: Any = None, **headers: str) -> requests.Response:
        """`body` as JSON, or as it is where it is bytes; `If_Match` becomes the header If-Match."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent |= {"Content-Type": FHIR_JSON} if body is not None else {}
        url = f"{self.base_url}/{path}".rstrip("/")
        content = {"data": body} if isinstance(body, bytes) else {"json": body}
        return self.session.request(method, url, headers=sent, timeout=60, **(content if body is not None else {}))

    def put(self, resource: Json, **headers: str) -> requests.Response:
        return self.send("PUT", f"{resource['resourceType']}/{resource['id']}", resource, **headers)

    def stored(self, *resources: Json) -> None:
        """Put them, in this order."""
        for resource in resources:
            answer = self.put(resource)
            assert answer.status_code in (200, 201), answer.text

    def search(self, kind: str, **params: str | list[str]) -> requests.Response:
        """GET [type]; a list repeats the parameter."""
        return self.session.get(f"{self.base_url}/{kind}", params=params, timeout=60)

    def ids(self, kind: str, **params: str | list[str]) -> set[str]:
        """The short ids of what a search finds among the resources of this test, on all pages."""
        answer = self.search(kind, **{"_tag": self.tag, **params})
        assert answer.status_code == 200, answer.text
        return {found.removesuffix(f"-{self.own}") for page in self.pages(answer) for found in page}

    def pages(self, answer: requests.Response) -> list[list[str]]:
        """The ids on each page, from this first one on."""
        found = []
        while True:
            assert answer.status_code == 200, answer.text
            found.append([entry["resource"]["id"] for entry in answer.json().get("entry", [])])
            following = next_link(answer.json())
            if not following:
                return found
            answer = self.session.get(following, timeout=60)

    def bundle(self, kind: str, *entries: Json, **headers: str) -> requests.Response:
        return self.send("POST", "", {"resourceType": "Bundle", "type": kind, "entry": list(entries)}, **headers)


def next_link(bundle: Json) -> str:
    return next((str(link["url"]) for link in bundle["link"] if link["relation"] == "next"), "")


def put_entry(resource: Json, **request: str) -> Json:
    url = f"{resource['resourceType']}/{resource['id']}"
    return {"resource": resource, "request": {"method": "PUT", "url": url, **request}}


def post_entry(resource: Json, **request: str) -> Json:
    return {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"], **request}}


def statuses(answer: requests.Response) -> list[int]:
    """The status of each entry of an answered Bundle."""
    assert answer.status_code == 200, answer.text
    return [int(entry["response"]["status"].split(" ")[0]) for entry in answer.json()["entry"]]


def is_outcome(answer: requests.Response) -> bool:
    return answer.headers["Content-Type"].startswith(FHIR_JSON) and answer.json()["resourceType"] == "OperationOutcome"
