"""The resident worker: APScheduler starts the runs, one at a time; a signal ends the worker after the batch in hand."""

import re
import threading
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from screener.config.settings import ScheduleSettings, Settings
from screener.errors import ConfigurationError, ScreenerError, UnforeseenError
from screener.run.options import Options
from screener.run.runner import Stopped, execute
from screener.run.signals import stop_by_signal

log = structlog.get_logger()


class Worker:
    """Runs the job by the schedule until a signal stops it."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigurationError for a time zone or cron expression that cannot be read."""
        self._settings = settings
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
        if run_now:
            scheduler.add_job(self._run, args=["nightly"], id="now")
        scheduler.start()
        for name in self._triggers:
            log.info("scheduled", run=name, next=str(scheduler.get_job(name).next_run_time))
        self._stop.wait()
        scheduler.shutdown(wait=True)
        log.info("stopped")

    def _run(self, name: str) -> None:
        """Run once. A run that fails is logged; the next one comes at its time, from the same watermark."""
        if self._stop.is_set():
            return
        try:
            result = execute(self._settings, Options(backfill=name == "backfill"), should_stop=self._stop.is_set)
        except Stopped as stopped:
            log.info("run_stopped", run=name, message=str(stopped))
        except Exception as error:  # noqa: BLE001 - one run that fails must not end the worker
            told = error if isinstance(error, ScreenerError) else UnforeseenError.of(error)
            log.error("run_failed", run=name, exit_code=int(told.exit_code), message=str(told))
        else:
            summary = result.summary
            log.info("run_ended", run=name, run_id=summary.run_id, patients=summary.patients_seen, **summary.writes)


def triggers(schedule: ScheduleSettings) -> dict[str, CronTrigger]:
    """The cron triggers by name, in the schedule's time zone."""
    try:
        zone = ZoneInfo(schedule.timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigurationError(
            f"schedule.timezone = {schedule.timezone!r} is no time zone", "Use an IANA name, e.g. Europe/Berlin"
        ) from error
    found = {}
    for name in ("nightly", "backfill"):
        expression = getattr(schedule, name)
        if not expression:
            continue
        try:
            found[name] = CronTrigger.from_crontab(with_day_names(expression), timezone=zone)
        except ValueError as error:
            raise ConfigurationError(
                f"schedule.{name} = {expression!r} is no cron expression",
                "Use five fields, e.g. 30 3 * * * for 03:30 every night",
            ) from error
    return found


_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY = re.compile(r"^(\*|[0-7](?:-[0-7])?)(?:/(\d+))?$")


def with_day_names(expression: str) -> str:
    """The expression with cron's numbers for days of the week (0 and 7 are Sunday) as a list of names.

    APScheduler counts from Monday: it would run "0 4 * * 0" a day late. Raises ValueError unless there are five fields.
    """
    fields = expression.split()
    if len(fields) != 5:
        raise ValueError(f"{len(fields)} fields instead of five")
    if fields[4] != "*":
        fields[4] = ",".join(_day_names(part) for part in fields[4].split(","))
    return " ".join(fields)


def _day_names(part: str) -> str:
    """One entry of the field, numbers as names; names are left as they are."""
    found = _DAY.match(part)
    if found is None:
        return part
    first, _, last = ("0-6" if found[1] == "*" else found[1]).partition("-")
    days = range(int(first), int(last or first) + 1, int(found[2] or 1))
    return ",".join(_DAYS[day % 7] for day in days)
