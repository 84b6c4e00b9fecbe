"""What all tests share: the servers, and the tiers with their time budgets."""

import os
import socket
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# The same examples every time, so that a failure is a change's; `HYPOTHESIS_PROFILE=long` draws new ones, many.
hypothesis.settings.register_profile("default", deadline=None, derandomize=True, max_examples=150)
hypothesis.settings.register_profile("long", deadline=None, max_examples=20_000, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

pytest_plugins = ["tests.hapi.fixtures"]

# Processes that tests start come up a third of a second earlier with compiled modules.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Seconds on two quiet cores, on which two test files run at once. A tier beyond its budget is printed as such; it fails nothing, for machines differ.
BUDGET_SECONDS = {"rules": 180, "model": 240, "sandbox": 400, "HAPI FHIR": 480, "Spark": 240}


_WITH_SANDBOX = ("tests/e2e", "tests/contract", "tests/sandbox", "tests/test_docs")


def _tier(report: pytest.TestReport) -> str:
    if "hapi" in report.keywords:
        return "HAPI FHIR"
    if "spark" in report.keywords:
        return "Spark"
    if report.nodeid.startswith("tests/model"):
        return "model"
    return "sandbox" if report.nodeid.startswith(_WITH_SANDBOX) else "rules"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The cases come first: what is wrong with the rules shows within seconds. With pytest-xdist a file's tests stay together, for its
    fixtures; those with HAPI FHIR too, which then starts once."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/clinical/test_cases"))
    for item in items:
        group = "hapi" if item.get_closest_marker("hapi") else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(ids: list[str]) -> None:
    """Stop where pytest-xdist loses its groups, as 3.8 does with pytest 9.2: each worker would start each server for itself."""
    if ids and "@" not in ids[0]:
        pytest.exit(
            "pytest-xdist does not keep the tests of a file together; use --dist loadgroup and the locked versions", 4
        )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how long each tier took, against its budget."""
    seconds: dict[str, float] = defaultdict(float)
    count: dict[str, int] = defaultdict(int)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if type(report) is pytest.TestReport:  # a subtest is part of its test
                seconds[_tier(report)] += report.duration
                count[_tier(report)] += report.when == "call"
    terminalreporter.section("tiers")
    for tier, budget in BUDGET_SECONDS.items():
        over = "  over its budget" if seconds[tier] > budget else ""
        terminalreporter.write_line(f"{tier:10} {count[tier]:5} tests {seconds[tier]:7.1f} s of {budget} s{over}")


@pytest.fixture
def unused_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Chromium, for the tests of pages."""
    from tests.browser import chromium_running  # noqa: PLC0415 - only some tests look at pages

    with chromium_running() as running:
        yield running
