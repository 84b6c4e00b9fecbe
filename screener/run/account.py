"""What is known of a run as it goes on: its summary can be made at any time, also where the run is stopped."""

from collections import Counter
from time import monotonic

from screener.base.errors import ExitCode, ScreenerError
from screener.run.comparison import Comparison
from screener.run.counts import RunTally, nested
from screener.run.limits import Compared
from screener.run.options import Options
from screener.run.servers import Servers
from screener.run.site import Site
from screener.run.summary import Summary, Watermark, blank, concluded
from screener.run.tasks import TaskCounts
from screener.stores.folder.workers import peak_rss_bytes, peak_rss_bytes_of_workers
from screener.stores.protocols import Mode, Scope
from screener.stores.reading import Reading


class Account:
    """Facts of one run. Each is set when it is known."""

    def __init__(self, options: Options) -> None:
        self.run_id, self._options = options.run_id, options
        self._began = self._stage_began = monotonic()
        self.stages: dict[str, float] = {}
        self.opened: Site | None = None  # before anything is asked of a server
        self.in_ledger = False
        self.site: Site | None = None
        self.servers = Servers()
        self.started = ""
        self.why_dry = ""
        self.tally, self.reading = RunTally(), Reading()
        self.comparison = Comparison()
        self.tasks: TaskCounts | None = None
        self.closed: Summary | None = None  # of a run that came to its end

    def stage_ends(self, name: str) -> None:
        """Keep how long a stage took."""
        now = monotonic()
        self.stages[name], self._stage_began = round(now - self._stage_began, 3), now

    def compared(self) -> Compared:
        """What is compared with the limits and with earlier runs, when all is decided."""
        options = self._options
        return Compared(
            self.tally.decided().figures(),
            options.mode,
            self.reading.not_whole,
            options.accept_large_change,
            options.to_folder is not None,
            self.reading.silent(self.site.needs) if self.site else {},
        )

    def stopped(self, error: ScreenerError) -> Summary:
        """The summary of a run that an error ended, however far it got."""
        mode = self._options.mode
        if self.closed is not None:
            so_far = self.closed
        elif self.site is None:
            so_far = blank(mode.value, self.run_id)
        else:
            so_far = self.summary(Scope(mode), Watermark(), ExitCode.OTHER)
        return concluded(so_far, error=error)

    def summary(self, scope: Scope, watermark: Watermark, code: ExitCode) -> Summary:
        """The summary of all that is known. The site must be open."""
        site = self.site
        assert site is not None  # noqa: S101 - `stopped` makes the summary of a run that could not open it
        counts, reading, options = self.tally.counts, self.reading, self._options
        traffic = [client.traffic for client in self.servers.clients]
        too_high: Counter[str] = sum((client.counts_too_high for client in self.servers.clients), Counter())
        return Summary(
            run_id=self.run_id,
            mode=scope.mode.value,
            dry_run=bool(self.why_dry),
            started=self.started,
            model={name: str(getattr(site.artefact, name)) for name in ("id", "version", "checksum", "calibration")},
            patients_seen=counts.patients,
            outcomes=counts.outcomes_by_reason,
            writes=counts.writes_by_column,
            write_reasons=counts.write_reasons,
            flagged=counts.flagged,
            refusals=nested(counts.refusals),
            caveats=dict(sorted(counts.caveats.items())),
            exclusions_not_checked=reading.not_whole,
            reading=dict(sorted(reading.types.items())),
            not_understood=nested(counts.not_understood),
            not_offered=sorted(reading.not_offered),
            bad_lines=reading.bad_lines,
            results_without_patient=reading.without_patient,
            requests=sum(one.requests for one in traffic),
            retries=sum(one.retries for one in traffic),
            bytes_read=reading.bytes_read + sum(one.bytes_read for one in traffic),
            seconds=round(monotonic() - self._began, 3),
            peak_rss_bytes=peak_rss_bytes() + peak_rss_bytes_of_workers(),
            watermark=watermark,
            exit_code=int(code),
            whole=not (options.limit or options.since or scope.mode is Mode.NAMED),
            withheld=self.comparison.withheld,
            accepted_large_change=bool(self.comparison.exceeded) and not self.comparison.withheld,
            limits_exceeded=self.comparison.exceeded,
            by_result_date=reading.by_result_date,
            totals_too_high=dict(sorted(too_high.items())),
            destination=site.names.destination_in_words,
            newly_flagged=counts.newly_flagged,
            tasks=self.tasks,
            stages=self.stages,
            site_tables=site.site_tables,
            figures=self.tally.decided().figures(),
        )

    def end(self, summary: Summary) -> Summary:
        """The run has come to its end; returns its summary with what follows from how it ended."""
        self.closed = concluded(summary, why_dry=self.why_dry)
        return self.closed
