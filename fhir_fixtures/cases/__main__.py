"""`python -m fhir_fixtures.cases`: write the table of cases again."""

from fhir_fixtures.cases import TABLE, load, table

TABLE.write_text(table(load()), encoding="utf-8")
