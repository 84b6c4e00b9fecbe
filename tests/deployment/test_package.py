"""What is published: the built files hold what the job needs and nothing else, and the version is the changelog's newest."""

import re
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from screener import __version__
from tests.deployment import package


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return package.build(tmp_path_factory.mktemp("dist"))


def sources(*packages: str) -> set[str]:
    """Every file of these packages, but for what tests and tools leave there."""
    return {
        path.relative_to(package.ROOT).as_posix()
        for name in packages
        for path in (package.ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_packages_with_their_data_and_nothing_else(built: tuple[Path, Path]) -> None:
    wheel = {name for name in zipfile.ZipFile(built[0]).namelist() if ".dist-info/" not in name}
    shipped = sources("screener", "model", "fhir_fixtures")
    assert wheel == {name for name in shipped if not name.startswith("fhir_fixtures/cases/")}


def test_the_sdist_holds_what_a_checkout_needs_to_test_itself(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    needed = ("Makefile", "requirements.lock", "mkdocs.yml", "docs/index.md", "README.md", "tests/test_docs.py")
    assert held.issuperset(needed)
    assert held.issuperset(sources("fhir_fixtures"))
    assert not [name for name in held if name.startswith((".venv", "build/", "dist/"))]


def test_every_extra_is_tried_before_a_release() -> None:
    declared = tomllib.loads((package.ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert {"", *declared} == set(package.EXTRAS)


def test_the_version_is_the_newest_of_the_changelog(built: tuple[Path, Path]) -> None:
    headings = re.findall(
        r"^## (\S+)(?: - (\d{4}-\d{2}-\d{2}))?$", (package.ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    released = [(version, day) for version, day in headings if version != "Unreleased"]
    assert released[0][0] == __version__
    assert all(day for _, day in released)
    assert built[0].name.startswith(f"osteoporosis_screener-{__version__}-")
