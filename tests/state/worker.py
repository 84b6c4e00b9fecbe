"""A process that takes a lease and does as it is told on its standard input.

worker.py URL RUN_ID TTL_SECONDS HEARTBEAT_SECONDS [GO_FILE]

Waits for GO_FILE if given; answers "held" or "refused MESSAGE". Then each line in: "check" is answered by "ours" or
"lost MESSAGE"; the end of input gives the lease back.
"""

import sys
import time
from pathlib import Path

from screener.base.errors import LeaseHeld, LeaseLost
from screener.state import State


def answer(line: str) -> None:
    """One line out, at once."""
    print(line, flush=True)


def main(url: str, run_id: str, ttl_seconds: str, heartbeat_seconds: str, go_file: str = "") -> None:
    """Take the lease "job" and hold it."""
    answer("ready")
    while go_file and not Path(go_file).exists():
        time.sleep(0.005)
    seconds = {"ttl_seconds": float(ttl_seconds), "heartbeat_seconds": float(heartbeat_seconds)}
    try:
        with State.open(url) as state, state.lease("job", run_id=run_id, **seconds) as lease:
            answer("held")
            for _ in sys.stdin:
                try:
                    lease.check()
                    answer("ours")
                except LeaseLost as error:
                    answer(f"lost {error}")
    except LeaseHeld as error:
        answer(f"refused {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
