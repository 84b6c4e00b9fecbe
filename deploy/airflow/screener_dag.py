"""An Airflow DAG that calls `screener run` and acts on its summary. An example: set the paths and the times.

Airflow 2.9 or newer. The worker needs the command line (/opt/screener/bin/screener) and its configuration.
"""

import json
import subprocess
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from airflow.decorators import dag, task
from airflow.exceptions import AirflowException, AirflowFailException, AirflowSkipException

SCREENER = "/opt/screener/bin/screener"
CONFIG = "/etc/screener/screener.toml"


def run(*arguments: str) -> dict:
    """One run. Skipped where another is at work; tried again where that may help; else a person is needed."""
    with tempfile.TemporaryDirectory() as folder:
        summary = Path(folder) / "summary.json"
        call = [SCREENER, "run", *arguments, "--config", CONFIG, "--log-format", "json", "--summary", str(summary)]
        code = subprocess.run(call, check=False).returncode
        found = (
            json.loads(summary.read_text())
            if summary.exists()
            else {"next_action": "fix_configuration", "exit_code": code}
        )
    what = f"exit code {found['exit_code']}: {found.get('error') or found.get('why_not_written') or 'see the log'}"
    action = found["next_action"]
    if action == "wait":
        raise AirflowSkipException(what)
    if action == "run_again":
        raise AirflowException(what)
    if action in ("decide", "fix_configuration") or code == 1:
        raise AirflowFailException(what)
    return {"run_id": found["run_id"], "wrote": found["wrote"], "writes": found["writes"], "exit_code": code}


SHARED = {"start_date": datetime(2026, 1, 1), "catchup": False, "max_active_runs": 1, "tags": ["screener"]}
RETRIES = {"retries": 3, "retry_delay": timedelta(minutes=20)}


@dag(dag_id="screener_nightly", schedule="30 3 * * *", **SHARED)
def nightly() -> None:
    """Every night: what changed."""
    task(task_id="run", **RETRIES)(run)()


@dag(dag_id="screener_backfill", schedule="0 4 * * 0", **SHARED)
def backfill() -> None:
    """Every Sunday: everyone."""
    task(task_id="run", **RETRIES)(run)("--backfill")


nightly()
backfill()
