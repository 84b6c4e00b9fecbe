"""Which small changes of meaning in the rules and the assessments do the tests not notice?

python -m tests.mutants [--draw 400] [--seed 1]     (make mutants)

mutmut changes one operator, constant or argument at a time, in all of `clinical` and `assessment`. All of them take hours, so a number
is drawn with a fixed seed. Each is tried on the tests of both rooms, in a copy of the tree. Survivors are printed as differences.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPY = ROOT / "build" / "mutants"
MUTMUT = [sys.executable, "-m", "mutmut"]
_KILLED = {1, 3}  # a test failed, or pytest could not go on
_ENDED_OTHERWISE = {-24, 24, 36, 152, 255}  # no end in time, or the tests cannot start


def copy_of_the_tree() -> None:
    """What git knows, and what is new, without what mutmut makes."""
    shutil.rmtree(COPY, ignore_errors=True)
    command = [
        "git",
        "ls-files",
        "-co",
        "--exclude-standard",
        "-z",
        "screener",
        "model",
        "fhir_fixtures",
        "tests",
        "pyproject.toml",
    ]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, COPY / name)


def mutmut(*arguments: str) -> str:
    """Run it in the copy."""
    ended = subprocess.run([*MUTMUT, *arguments], cwd=COPY, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(f"mutmut ended with {ended.returncode}:\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}")
    return ended.stdout


def results() -> dict[str, int | None]:
    """Each mutant with the exit code of its tests; None where it was not tried."""
    found: dict[str, int | None] = {}
    for meta in sorted((COPY / "mutants" / "screener").rglob("*.meta")):
        found |= json.loads(meta.read_text())["exit_code_by_key"]
    return found


def main() -> None:
    """Draw, try, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", type=int, default=400, help="how many mutants (default 400)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same of the same code (default 1)")
    parser.add_argument("--only", default="", help="only mutants whose name begins so")
    given = parser.parse_args()
    copy_of_the_tree()
    mutmut("run", "screener.assessment.suppression*")  # makes all mutants, and finds out which tests are about what
    names = sorted(name for name in results() if name.startswith(given.only))
    drawn = sorted(random.Random(given.seed).sample(names, min(given.draw, len(names))))  # noqa: S311 - a sample
    mutmut("run", *drawn)
    after = results()
    noticed = [name for name in drawn if after[name] in _KILLED | _ENDED_OTHERWISE]
    for name in drawn:
        if name not in noticed:
            print(f"\n## {name} ({after[name]})\n{mutmut('show', name)}")
    print(
        f"\n{len(noticed)} of {len(drawn)} drawn of {len(names)} mutants were noticed: {len(noticed) / len(drawn):.1%}"
    )


if __name__ == "__main__":
    main()
