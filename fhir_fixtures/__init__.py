"""Synthetic FHIR data: cases with worked outcomes, and a generator of populations."""
