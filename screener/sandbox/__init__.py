"""A small FHIR R4 server for trying and testing: on this machine only, without authorisation, for synthetic data."""
