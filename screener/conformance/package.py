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
    """Put every resource on a server by its id; returns how many. ServerError where it refuses one."""
    for resource in found:
        kind, name = resource["resourceType"], resource["id"]
        body = json.dumps(resource, ensure_ascii=False).encode()
        answer = client.write("PUT", f"{kind}/{name}", body, what=f"a {kind}")
        if answer.status >= 400:
            raise ServerError(
                f"{client.host} answered {answer.status} to {kind}/{name}",
                "Check that it takes conformance resources with ids of the client, or install the package (--out) its own way",
            )
    return len(found)
