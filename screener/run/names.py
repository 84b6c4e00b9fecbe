"""The names under which the state remembers a run, and the run's row in the ledger."""

from screener import __version__
from screener.config.settings import Settings
from screener.run.options import Options
from screener.run.rules import ModelAndTables
from screener.state import RunStart


class RunNames:
    """The names of a run's source, destination and watermarks."""

    def __init__(self, settings: Settings, options: Options | None = None) -> None:
        """`options`: of the call; without them the servers of the settings are meant."""
        self._settings, self._options = settings, options or Options()

    @property
    def source(self) -> str:
        """The source, for people and for the watermark."""
        folder = self._options.from_folder
        if self._options.engine == "spark":
            return self._options.source_uri
        return str(folder.resolve()) if folder else self._settings.server.base_url

    @property
    def destination(self) -> str:
        """The destination, for people, for the lease and for the watermark."""
        folder = self._options.to_folder
        if self._options.engine == "spark":
            return self._options.destination_uri
        return str(folder.resolve()) if folder else self._settings.written_to.base_url

    @property
    def destination_in_words(self) -> str:
        """Host of the server, or name of the folder: without path, user and password."""
        if self._options.engine == "spark" or self._options.to_folder:
            return self.destination.rstrip("/").rpartition("/")[2]
        return self._settings.written_to.host

    @property
    def watermark_prefix(self) -> str:
        """What all watermarks between this source and this destination begin with, whatever the configuration."""
        return f"{self.source} -> {self.destination}#"

    def watermark(self, selection_digest: str) -> str:
        """The name of a watermark and its retry set. `selection_digest`: of all that decides who is seen and how she is judged."""
        return f"{self.watermark_prefix}{selection_digest}"


def run_start(
    run_id: str, mode: str, started: str, names: RunNames, loaded: ModelAndTables, settings: Settings
) -> RunStart:
    """A run's row in the ledger. `started`: an instant as FHIR writes it."""
    return RunStart(
        run_id=run_id,
        mode=mode,
        started=started,
        source=names.source,
        destination=names.destination,
        config_hash=loaded.selection_digest(settings),
        artefact_hash=loaded.artefact.checksum,
        code_map_hash=loaded.tables.digest(),
        policy_hash=settings.selection_digest(),
        model_id=f"{loaded.artefact.id} {loaded.artefact.version}",
        software_version=__version__,
    )
