"""Starts a real HAPI FHIR server for the tests, and makes sure that the tools for it are there.

    python tests/hapi/launcher.py ensure-tools     Java 17, Maven, PostgreSQL: install where we may, else say what to install
    python tests/hapi/launcher.py serve            build if need be, start, print the address, run until interrupted

Standard library only: `make test` calls it before anything else of the tests.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

HERE = Path(__file__).parent
SERVER = HERE / "server"
CACHE = HERE.parent.parent / ".cache" / "hapi"
START_SECONDS = 180
JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx1g")
READY = "HAPI_READY "


class HapiUnavailable(RuntimeError):
    """The server cannot be built or started; the message says what to do."""


@dataclass(frozen=True)
class Built:
    """A server that is ready to start: its class path, and the archive of its loaded classes."""

    class_path: str
    archive: Path


def prepare() -> Built:
    """Build the server unless this very one is built; processes that come at the same time wait for each other.

    The build is keyed by its sources. The class path file is written last, so half a build never counts as done.
    """
    _require_tools()
    folder = CACHE / _source_digest()
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "class-path.txt"
    with _locked(folder / "lock"):
        if not done.exists():
            _build(folder, done)
    return Built(done.read_text(encoding="utf-8"), folder / "classes.jsa")


def _build(folder: Path, done: Path) -> None:
    libraries = folder / "libraries.txt"
    _run(
        "mvn",
        "-q",
        "-B",
        "-f",
        str(SERVER / "pom.xml"),
        "dependency:build-classpath",
        f"-Dmdep.outputFile={libraries}",
    )
    class_path = libraries.read_text(encoding="utf-8").strip()
    classes, jar = folder / "classes", folder / "server.jar"
    _run("javac", "-nowarn", "-d", str(classes), "-cp", class_path, str(SERVER / "HapiServer.java"))
    _run("jar", "cf", str(jar), "-C", str(classes), ".")  # class data sharing takes jars, not folders
    built = Built(f"{jar}{os.pathsep}{class_path}", folder / "classes.jsa")
    with HapiServer(folder / "archive.log", built=built, archive=True):
        pass  # one start and stop writes the archive, which makes every later start three times as fast
    half = done.with_suffix(".half")
    half.write_text(built.class_path, encoding="utf-8")
    half.replace(done)


def _source_digest() -> str:
    digest = hashlib.sha256()
    for name in ("pom.xml", "HapiServer.java"):
        digest.update((SERVER / name).read_bytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _run(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        tail = (ended.stdout + ended.stderr)[-3000:]
        raise HapiUnavailable(f"`{command[0]}` failed while the HAPI FHIR test server was built:\n{tail}")


class HapiServer:
    """One running server. It ends with `stop`, and with this process whatever becomes of it."""

    def __init__(self, log: Path | None = None, *, built: Built | None = None, archive: bool = False) -> None:
        """`archive` writes the archive of loaded classes at the end, instead of starting from it."""
        self._built = built or prepare()
        self._log = log or Path(tempfile.mkdtemp(prefix="hapi-log-")) / "hapi.log"
        self._archive = archive
        self._process: subprocess.Popen[bytes] | None = None
        self.base_url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when the server answers. Raises HapiUnavailable with the end of its log otherwise."""
        with self._log.open("wb") as log:
            # Its standard input is a pipe from us: when we are gone, it reads the end and exits.
            self._process = subprocess.Popen(
                [*self._command()], stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
            )
        self.base_url = self._wait_until_ready()

    def _command(self) -> list[str]:
        flag = "-XX:ArchiveClassesAtExit" if self._archive else "-XX:SharedArchiveFile"
        sharing = f"{flag}={self._built.archive}"
        return ["java", *JVM, sharing, "-Dport=0", "-cp", self._built.class_path, "HapiServer"]

    def _wait_until_ready(self) -> str:
        assert self._process is not None
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            line = next((ln for ln in self._lines() if ln.startswith(READY)), "")
            if line:
                return line.removeprefix(READY).strip()
            if self._process.poll() is not None:
                break
            time.sleep(0.1)
        self.stop()
        raise HapiUnavailable("HAPI FHIR did not start; the end of its log:\n" + "\n".join(self._lines()[-30:]))

    def _lines(self) -> list[str]:
        return self._log.read_text(encoding="utf-8", errors="replace").splitlines()

    def stop(self) -> None:
        """End the server, and only it."""
        process = self._process
        if process is None:
            return
        self._process = None
        _close(process.stdin)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        with contextlib.suppress(BrokenPipeError):
            stream.close()


# The tools.

_PACKAGES = {"java": "openjdk-17-jdk-headless", "mvn": "maven", "initdb": "postgresql"}


def missing_tools() -> list[str]:
    """Which of Java 17+, Maven and PostgreSQL's server are not on this machine."""
    found = {"java": _java_version() >= 17 and bool(shutil.which("javac")), "mvn": bool(shutil.which("mvn"))}
    found["initdb"] = bool(shutil.which("initdb")) or any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return [tool for tool, there in found.items() if not there]


def _java_version() -> int:
    if not shutil.which("java"):
        return 0
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(\d+)', said)
    return int(match[1]) if match else 0


def _require_tools() -> None:
    missing = [tool for tool in missing_tools() if tool != "initdb"]
    if missing:
        raise HapiUnavailable(_what_to_install(missing))


def _what_to_install(missing: list[str]) -> str:
    packages = " ".join(_PACKAGES[tool] for tool in missing)
    return (
        f"The tests need {', '.join(missing)} (Java 17 or newer, Maven, PostgreSQL's server). "
        f"On Debian or Ubuntu: sudo apt-get install {packages}"
    )


def ensure_tools() -> None:
    """Install what is missing where we are root and have apt-get; otherwise say exactly what to install."""
    missing = missing_tools()
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise HapiUnavailable(_what_to_install(missing))
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    packages = [_PACKAGES[tool] for tool in missing]
    subprocess.run(["apt-get", "update", "-q"], env=environment, check=True)
    subprocess.run(
        ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages], env=environment, check=True
    )
    if missing_tools():
        raise HapiUnavailable(_what_to_install(missing_tools()))


def main(arguments: list[str]) -> int:
    """The command line of this file."""
    try:
        if arguments == ["ensure-tools"]:
            ensure_tools()
        elif arguments == ["serve"]:
            with HapiServer() as server:
                print(server.base_url, flush=True)
                with contextlib.suppress(KeyboardInterrupt):
                    while True:
                        time.sleep(3600)
        else:
            print(__doc__)
            return 2
    except HapiUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
