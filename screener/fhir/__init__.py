"""FHIR over HTTP: one client, searches that lose nothing, batch Bundles, and what a server says that it can do."""
