"""Bulk Data Access: exports the FHIR server into a folder of NDJSON, and resumes where it was interrupted."""
