"""A Dagster job that calls `screener run` and acts on its summary. An example: set the paths and the times.

Dagster 1.8 or newer. The worker needs the command line (/opt/screener/bin/screener) and its configuration.
"""

import json
import subprocess
import tempfile
from pathlib import Path

from dagster import (
    Config,
    Definitions,
    Failure,
    OpExecutionContext,
    RetryRequested,
    RunConfig,
    ScheduleDefinition,
    job,
    op,
)

SCREENER = "/opt/screener/bin/screener"
CONFIG = "/etc/screener/screener.toml"


class Kind(Config):
    """`arguments` of `screener run`."""

    arguments: list[str] = []


@op
def screener_run(context: OpExecutionContext, config: Kind) -> None:
    """One run. Tried again where that may help; fails without another try where a person is needed."""
    with tempfile.TemporaryDirectory() as folder:
        summary = Path(folder) / "summary.json"
        call = [
            SCREENER,
            "run",
            *config.arguments,
            "--config",
            CONFIG,
            "--log-format",
            "json",
            "--summary",
            str(summary),
        ]
        code = subprocess.run(call, check=False).returncode
        found = (
            json.loads(summary.read_text())
            if summary.exists()
            else {"next_action": "fix_configuration", "exit_code": code}
        )
    what = f"exit code {found['exit_code']}: {found.get('error') or found.get('why_not_written') or 'see the log'}"
    action = found["next_action"]
    if action == "wait":
        context.log.info("skipped: another run is at work")
        return
    if action == "run_again":
        raise RetryRequested(max_retries=3, seconds_to_wait=1200) from Failure(what)
    if action in ("decide", "fix_configuration") or code == 1:
        raise Failure(what, allow_retries=False)
    context.add_output_metadata({"run_id": found["run_id"], "wrote": found["wrote"], "exit_code": code})


@job
def screener() -> None:
    """One run of screener."""
    screener_run()


def _every(cron: str, name: str, *arguments: str) -> ScheduleDefinition:
    config = RunConfig(ops={"screener_run": Kind(arguments=list(arguments))})
    return ScheduleDefinition(name=name, job=screener, cron_schedule=cron, run_config=config)


definitions = Definitions(
    jobs=[screener],
    schedules=[_every("30 3 * * *", "screener_nightly"), _every("0 4 * * 0", "screener_backfill", "--backfill")],
)
