"""The conformance resources as a FHIR package (.tgz in the layout of NPM: hl7.org/fhir/packages), or loaded to a server."""

import gzip
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.atomic import write_whole
from screener.base.errors import ServerError
from screener.fhir.client import Client
from screener.fhir.search import search

Json = dict[str, Any]

NAME = "osteoporosis-screener.conformance"


def write_package(file: Path, found: Sequence[Json], canonical: str, version: str) -> None:
    """Write the package; the same resources give the same bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in _files(found, canonical, version).items():
            body = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))
    write_whole(file, [gzip.compress(packed.getvalue(), mtime=0)])


def _files(found: Sequence[Json], canonical: str, version: str) -> dict[str, Json]:
    manifest = {
        "name": NAME,
        "version": version,
        "type": "Conformance",
        "canonical": canonical,
        "description": "Extensions, code systems, value sets and profiles of the osteoporosis screener",
        "fhirVersions": ["4.0.1"],
        "dependencies": {"hl7.fhir.r4.core": "4.0.1"},
        "author": "osteoporosis-screener",
        "license": "Apache-2.0",
    }
    names = {f"{resource['resourceType']}-{resource['id']}.json": resource for resource in found}
    index = [
        {
            "filename": name,
            **{
                key: resource[key]
                for key in ("resourceType", "id", "url", "version", "kind", "type")
                if key in resource
            },
        }
        for name, resource in names.items()
    ]
    return {"package.json": manifest, ".index.json": {"index-version": 1, "files": index}, **names}


def load(client: Client, found: Sequence[Json]) -> int:
    """Put every resource on a server; returns how many. Each is found by its canonical URL and updated, or created: the ids are the server's
    affair. ServerError where it refuses one."""
    for resource in found:
        kind, url = resource["resourceType"], resource["url"]
        held = [one.head.id for one in search(client, kind, [("url", url)])]
        if len(held) > 1:
            raise ServerError(
                f"{client.host} holds {len(held)} {kind} resources of one canonical URL ({url.rpartition('/')[2]})",
                "Remove all but one, and load again",
            )
        content = {name: value for name, value in resource.items() if name != "id"} | ({"id": held[0]} if held else {})
        body = json.dumps(content, ensure_ascii=False).encode()
        method, path = ("PUT", f"{kind}/{held[0]}") if held else ("POST", kind)
        answer = client.write(method, path, body, what=f"a {kind}")
        if answer.status >= 400:
            raise ServerError(
                f"{client.host} answered {answer.status} to a {kind}",
                "Grant create, update and search of conformance resources, or install the package (--out) its own way",
            )
    return len(found)
