"""`screener schedule`: the nightly worker."""

import click

from screener.commands._options import Common, settings_options

EPILOG = """\b
Example (screener.toml):
  [schedule]
  nightly = "30 3 * * *"
  backfill = "0 4 * * 0"
  timezone = "Europe/Berlin"
Without a resident process, let the platform's cron call `screener run` instead.
"""


@click.command(epilog=EPILOG)
@click.option("--run-now", is_flag=True, help="Begin with an incremental run at once.")
@settings_options
def schedule(common: Common, *, run_now: bool) -> None:
    """Run every night, and a full reconcile every week, until stopped.

    Runs come one at a time. A start that was missed by less than schedule.misfire_grace_seconds takes place late; several missed ones
    take place once. Where there has been no full run yet, it begins with one (schedule.first_backfill). SIGTERM finishes the batch in hand, leaves the watermark where it was, and exits 0.
    """
    from functools import partial

    from screener.operations.after_run import FollowUp, after_run
    from screener.operations.endpoint import serving
    from screener.operations.schedule import Worker

    settings = common.settings()
    worker = Worker(settings, partial(after_run, FollowUp.of(settings)))
    with serving(settings.metrics, settings.state.url, worker.next_starts):
        worker.work(run_now=run_now)
