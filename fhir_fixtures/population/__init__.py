"""Synthetic populations of any size: seeded, streaming, one patient after the other."""

from fhir_fixtures.population.generator import generate
from fhir_fixtures.population.output import bundles, transactions, write_ndjson

__all__ = ["bundles", "generate", "transactions", "write_ndjson"]
