"""The resident worker: APScheduler starts the runs, one at a time; a signal ends the worker after the batch in hand."""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from screener.base.errors import ConfigurationError, ScreenerError, as_screener_error
from screener.config.settings import ScheduleSettings, Settings
from screener.operations.cron import Cron
from screener.run.deadline import Stopped
from screener.run.figures import Figures
from screener.run.job import Result, execute
from screener.run.options import Options
from screener.run.signals import stop_by_signal
from screener.run.site import names_of, spelling_known_to
from screener.run.summary import Summary
from screener.state import State

log = structlog.get_logger()


After = Callable[[Summary, Sequence[Figures]], None]  # summary of the run, figures of earlier ones


class Worker:
    """Runs the job by the schedule until a signal stops it."""

    def __init__(self, settings: Settings, after: After) -> None:
        """`after` is called when a run has ended, well or not. ConfigurationError for a time zone or cron expression that cannot be
        read."""
        self._settings, self._after = settings, after
        self._stop = threading.Event()
        self._triggers = triggers(settings.schedule)

    def work(self, *, run_now: bool = False) -> None:
        """Returns after SIGTERM or SIGINT, when the batch in hand is finished."""
        with stop_by_signal() as self._stop:
            self._work(run_now=run_now)

    def _work(self, *, run_now: bool) -> None:
        scheduler = BackgroundScheduler(
            # One thread, so one run at a time.
            executors={"default": ThreadPoolExecutor(max_workers=1)},
            job_defaults={
                "coalesce": True,
                "max_instances": 1,
                "misfire_grace_time": self._settings.schedule.misfire_grace_seconds,
            },
            timezone=ZoneInfo(self._settings.schedule.timezone),
        )
        for name, trigger in self._triggers.items():
            scheduler.add_job(self._run, trigger, args=[name], id=name)
        at_once = self._settings.schedule.first_backfill == "at_once" and self._is_first()
        if at_once or run_now:
            scheduler.add_job(self._run, args=["backfill" if at_once else "nightly"], id="now")
        scheduler.start()
        for name in self._triggers:
            log.info("scheduled", run=name, next=str(scheduler.get_job(name).next_run_time))
        self._stop.wait()
        scheduler.shutdown(wait=True)
        log.info("stopped")

    def next_starts(self) -> dict[str, datetime]:
        """When each kind of run starts next."""
        found = starts(self._settings.schedule, datetime.now(UTC), 1)
        return {name: times[0] for name, times in found.items() if times}

    def _is_first(self) -> bool:
        """Whether there has been no full run yet between this source and this destination, whatever the configuration."""
        with State.to_read(self._settings.state.url) as state:
            names = names_of(self._settings, Options(), spelling_known_to(state))
            return not state.watermark_scopes(names.watermark_prefix)

    def _run(self, name: str) -> None:
        """Run once. A run that fails is logged; the next one comes at its time, from the same watermark."""
        if self._stop.is_set():
            return
        try:
            if name == "nightly" and self._settings.schedule.first_backfill != "never" and self._is_first():
                log.info("first_backfill", why="there has been no full run yet: this start is one")
                name = "backfill"
            result = execute(self._settings, Options(backfill=name == "backfill"), should_stop=self._stop.is_set)
        except Exception as error:  # noqa: BLE001 - a state that cannot be asked must not end the worker
            _log_failure(name, as_screener_error(error))
            return
        if not isinstance(result.error, Stopped):
            self._after(result.summary, result.earlier)
        _log_end(name, result)


def _log_failure(name: str, error: ScreenerError) -> None:
    log.error("run_failed", run=name, exit_code=int(error.exit_code), message=str(error))


def _log_end(name: str, result: Result) -> None:
    summary = result.summary
    if isinstance(result.error, Stopped):
        log.info("run_stopped", run=name, message=str(result.error))
    elif result.error is not None:
        _log_failure(name, result.error)
    elif summary.withheld:
        log.error(
            "run_withheld",
            run=name,
            limits=[found.words for found in summary.limits_exceeded],
            remedy="Nothing was written. If the change is right: screener run --accept-large-change",
        )
    else:
        log.info("run_ended", run=name, run_id=summary.run_id, patients=summary.patients_seen, **summary.writes)


def triggers(schedule: ScheduleSettings) -> dict[str, Cron]:
    """The cron triggers by name, in the schedule's time zone."""
    try:
        zone = ZoneInfo(schedule.timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigurationError(
            f"schedule.timezone = {schedule.timezone!r} is not a time zone", "Use an IANA name, e.g. Europe/Berlin"
        ) from error
    found = {}
    for name in ("nightly", "backfill"):
        expression = getattr(schedule, name)
        if not expression:
            continue
        try:
            found[name] = Cron(expression, zone)
        except ValueError as error:
            raise ConfigurationError(
                f"schedule.{name} = {expression!r} is not a cron expression",
                "Use five fields, e.g. 30 3 * * * for 03:30 every night",
            ) from error
    return found


def starts(schedule: ScheduleSettings, now: datetime, count: int) -> dict[str, list[datetime]]:
    """The next `count` starts of each kind of run, in the schedule's time zone."""
    found: dict[str, list[datetime]] = {}
    for name, cron in triggers(schedule).items():
        times: list[datetime] = []
        while len(times) < count and (following := cron.get_next_fire_time(times[-1] if times else None, now)):
            times.append(following)
            now = max(now, following)
        found[name] = times
    return found
