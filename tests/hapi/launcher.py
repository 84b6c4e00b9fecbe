"""Starts a real HAPI FHIR server for the tests.

    python -m tests.hapi.launcher prepare            build the server unless it is built, and print where
    python -m tests.hapi.launcher serve [--port N]   build if need be, start, print the address, run until interrupted

The build is kept in .cache/hapi, or in
the folder that HAPI_TEST_CACHE names: one that outlives a checkout spares every fresh clone the build.
"""

import argparse
import contextlib
import fcntl
import hashlib
import http.client
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests import tools

HERE = Path(__file__).resolve().parent
SERVER = HERE / "server"
SOURCES = ("pom.xml", "HapiServer.java")
START_SECONDS = 180
METADATA_SECONDS = 60
STOP_SECONDS = 60  # the first run writes the archive of classes when it ends
TAIL_LINES = 30
JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx1g")
READY = "HAPI_READY "


class HapiUnavailable(RuntimeError):
    """The server cannot be built or started; the message says what to do."""


# The build.


@dataclass(frozen=True)
class Built:
    """A server that is ready to start: its class path, and the archive of its loaded classes."""

    class_path: str
    archive: Path


def cache() -> Path:
    """The folder of all builds."""
    return Path(os.environ.get("HAPI_TEST_CACHE") or HERE.parent.parent / ".cache" / "hapi").resolve()


def prepare() -> Built:
    """Build the server unless this very one is built; processes that come at the same time wait for each other.

    A build is keyed by its sources and JVM options. Its class path file is written last, so half a build never counts as done; nor does
    one whose libraries have since left Maven's repository. Raises HapiUnavailable.
    """
    _require_tools()
    folder = cache() / _source_digest()
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "class-path.txt"
    with _locked(folder / "lock"):
        if not _usable(done):
            _build(folder, done)
    return Built(done.read_text(encoding="utf-8"), folder / "classes.jsa")


def _usable(done: Path) -> bool:
    if not done.exists():
        return False
    return all(Path(entry).exists() for entry in done.read_text(encoding="utf-8").split(os.pathsep))


def _build(folder: Path, done: Path) -> None:
    done.unlink(missing_ok=True)
    class_path = _libraries(folder)
    classes, jar = folder / "classes", folder / "server.jar"
    source = str(SERVER / "HapiServer.java")
    _run("javac", "-nowarn", "--release", str(tools.OLDEST_JAVA), "-d", str(classes), "-cp", class_path, source)
    _run("jar", "cf", str(jar), "-C", str(classes), ".")  # class data sharing takes jars, not folders
    built = Built(f"{jar}{os.pathsep}{class_path}", folder / "classes.jsa")
    with HapiServer(folder / "archive.log", built=built, archive=True):
        pass  # one start and stop writes the archive, which makes every later start three times as fast
    half = done.with_suffix(".half")
    half.write_text(built.class_path, encoding="utf-8")
    half.replace(done)


def _libraries(folder: Path) -> str:
    listed = folder / "libraries.txt"
    pom = str(SERVER / "pom.xml")
    _run("mvn", "-q", "-B", "-f", pom, "dependency:build-classpath", f"-Dmdep.outputFile={listed}")
    return listed.read_text(encoding="utf-8").strip()


def _source_digest() -> str:
    digest = hashlib.sha256(" ".join(JVM).encode())  # an archive serves only the garbage collector it was made with
    for name in SOURCES:
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


# The server.


class HapiServer:
    """One running server with a database of its own. It ends with `stop`, and with this process whatever becomes of it."""

    def __init__(
        self,
        log: Path | None = None,
        *,
        port: int = 0,
        jdbc_url: str = "",
        built: Built | None = None,
        archive: bool = False,
    ) -> None:
        """`port` 0 is any free one. `jdbc_url` names an empty PostgreSQL database; without it the data are in H2, in memory, whose
        searches for many patients take minutes. `archive` writes the archive of loaded classes at the end, instead of using it.

        Without a `log` the output goes to a temporary file, which is gone with the server.
        """
        self._built = built or prepare()
        self._log = log
        self._port = port
        self._jdbc_url = jdbc_url
        self._archive = archive
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self.base_url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when GET [base]/metadata is 200. Raises HapiUnavailable with the end of the log otherwise."""
        self._scratch = tempfile.TemporaryDirectory(prefix="hapi-")
        log = self._log or Path(self._scratch.name) / "hapi.log"
        try:
            with log.open("wb") as output:
                # Its standard input is a pipe from us: when we are gone, it reads the end and exits.
                self._process = subprocess.Popen(
                    self._command(self._scratch.name), stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT
                )
            self.base_url = _wait_until_ready(self._process, log)
        except BaseException:
            self.stop()
            raise

    def _command(self, scratch: str) -> list[str]:
        flag = "-XX:ArchiveClassesAtExit" if self._archive else "-XX:SharedArchiveFile"
        sharing = f"{flag}={self._built.archive}"
        properties = [f"-Dport={self._port}", f"-Djava.io.tmpdir={scratch}"]
        if self._jdbc_url:
            properties.append(f"-Djdbc.url={self._jdbc_url}")
        return ["java", *JVM, sharing, *properties, "-cp", self._built.class_path, "HapiServer"]

    def stop(self) -> None:
        """End the server, and only it. Once stopped, or never started, nothing happens."""
        process, self._process = self._process, None
        scratch, self._scratch = self._scratch, None
        if process is not None:
            _end(process)
        if scratch is not None:
            scratch.cleanup()


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        line = next((ln for ln in _lines(log) if ln.startswith(READY)), "")
        if line:
            base_url = line.removeprefix(READY).strip()
            _require_metadata(base_url, log)
            return base_url
        if process.poll() is not None:
            raise _not_started(f"ended with exit code {process.returncode}", log)
        time.sleep(0.1)
    raise _not_started(f"was not ready within {START_SECONDS} s", log)


def _require_metadata(base_url: str, log: Path) -> None:
    # http.client, for it goes by no proxy of the environment.
    address = urlsplit(base_url)
    connection = http.client.HTTPConnection(address.netloc, timeout=METADATA_SECONDS)
    try:
        connection.request("GET", f"{address.path}/metadata", headers={"Accept": "application/fhir+json"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise _not_started(f"did not answer GET {base_url}/metadata ({error})", log) from error
    finally:
        connection.close()
    if status != http.client.OK:
        raise _not_started(f"answered {status} to GET {base_url}/metadata", log)


def _not_started(why: str, log: Path) -> HapiUnavailable:
    tail = "\n".join(_lines(log)[-TAIL_LINES:])
    return HapiUnavailable(f"HAPI FHIR did not start: it {why}. The end of its log:\n{tail}")


def _lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _require_tools() -> None:
    missing = [tool for tool in ("java", "mvn") if tool in tools.missing_tools()]
    if missing:
        raise HapiUnavailable(tools.what_to_install(missing))  # type: ignore[arg-type]


# The command line.


def main(arguments: list[str]) -> int:
    """Runs one of the two commands; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare")
    commands.add_parser("serve").add_argument("--port", type=int, default=0, help="0, the default: any free one")
    options = parser.parse_args(arguments)
    try:
        if options.command == "prepare":
            print(prepare().archive.parent)
        else:
            _serve(options.port)
    except HapiUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _serve(port: int) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both ways of interrupting clean up
    with contextlib.suppress(KeyboardInterrupt), HapiServer(port=port) as server:
        print(server.base_url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
