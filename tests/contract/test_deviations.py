"""The table of deviations holds deviations."""

from tests.contract import deviations
from tests.contract.deviations import Deviation


def test_each_names_its_section_and_two_answers() -> None:
    table = [value for value in vars(deviations).values() if isinstance(value, Deviation)]
    assert len(table) > 0
    assert [row for row in table if row.specified == row.hapi or ".html#" not in row.section] == []
