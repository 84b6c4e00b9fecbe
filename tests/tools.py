"""The programs that the tests need beside Python: Java 17, Maven, PostgreSQL's server, Chromium.

    python -m tests.tools      install what is missing where we may, else say what to install

Standard library only: `make test` calls it before anything else of the tests.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST_JAVA = 17


class ToolsMissing(RuntimeError):
    """Something is not there; the message says what to install."""


_PACKAGES = {"java": "openjdk-17-jdk-headless", "mvn": "maven", "initdb": "postgresql", "chromium": "chromium"}
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_NEWER_JAVA = ("openjdk-21-jdk-headless", "openjdk-25-jdk-headless")  # where a distribution has left 17 behind


def missing_tools() -> list[str]:
    """Which of Java 17+, Maven, PostgreSQL's server and Chromium are not on this machine."""
    compiler = shutil.which("javac") and shutil.which("jar")
    found = {"java": java_version() >= OLDEST_JAVA and bool(compiler), "mvn": bool(shutil.which("mvn"))}
    found["initdb"] = bool(shutil.which("initdb")) or any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found["chromium"] = bool(chromium())
    return [tool for tool, there in found.items() if not there]


def chromium() -> str:
    """The browser that the pages are tested in, "" where there is none."""
    return next((path for name in _BROWSERS if (path := shutil.which(name))), "")


def java_version() -> int:
    """The major version of `java` on the path, 0 when there is none."""
    if not shutil.which("java"):
        return 0
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(match[1]) if match else 0


def what_to_install(missing: list[str]) -> str:
    version = java_version()
    found = f"there is Java {version}" if version else "there is no java"
    needs = {
        "java": f"Java {OLDEST_JAVA} or newer with its compiler ({found})",
        "mvn": "Maven (mvn)",
        "initdb": "PostgreSQL's server programs (initdb)",
        "chromium": "Chromium",
    }
    return (
        f"The tests need what is missing here: {'; '.join(needs[tool] for tool in missing)}. "
        f"Install {' and '.join(_PACKAGES[tool] for tool in missing)}, "
        f"e.g. apt-get install {' '.join(_PACKAGES[tool] for tool in missing)}"
    )


def ensure_tools() -> None:
    """Install what is missing where we are root and have apt-get. Raises ToolsMissing that says what to install."""
    missing = missing_tools()
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ToolsMissing(what_to_install(missing))
    _apt_get("update", "-q")
    packages = [_java_package() if tool == "java" else _PACKAGES[tool] for tool in missing]
    _apt_get("install", "-y", "-q", "--no-install-recommends", *packages)
    if missing := missing_tools():
        raise ToolsMissing(what_to_install(missing))


def _apt_get(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if subprocess.run(["apt-get", *arguments], env=environment, check=False).returncode != 0:
        raise ToolsMissing(f"`apt-get {' '.join(arguments)}` failed, see above. {what_to_install(missing_tools())}")


def _java_package() -> str:
    wanted = (_PACKAGES["java"], *_NEWER_JAVA)
    return next((name for name in wanted if _is_known_to_apt(name)), wanted[0])


def _is_known_to_apt(package: str) -> bool:
    return subprocess.run(["apt-cache", "show", package], capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    try:
        ensure_tools()
    except ToolsMissing as error:
        sys.exit(str(error))
