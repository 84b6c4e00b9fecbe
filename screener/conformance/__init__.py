"""What we write, described in FHIR: extensions, code systems, value sets and profiles, as a package or on a server."""

from screener.conformance.definitions import resources
from screener.conformance.package import write_package

__all__ = ["resources", "write_package"]
