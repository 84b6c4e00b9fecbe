"""Bulk Data Access: an export of the FHIR server into a folder of NDJSON, resumed wherever it was interrupted."""
