"""Answers with one thing wrong, at random but the same every time: the run ends in good order, and nothing of them is repeated."""

import json
import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from screener.base.errors import ExitCode
from tests.faults import CANARY, NOTHING_WRONG, Ward, night
from tests.proxy import Ask, Fault
from tests.scripted import Reply, Request

GOOD_ORDER = {ExitCode.DONE, ExitCode.SOME_PATIENTS_FAILED, ExitCode.SERVER, ExitCode.TOO_LARGE}
DEEP = "deep"  # becomes lists in lists
ODD = [  # type: ignore[var-annotated]
    None,
    True,
    -1,
    10**400,
    0.5,
    "",
    CANARY,
    "\u0000",
    "é" * 300,
    [],
    {},
    [None],
    [[]],
    {"x": CANARY},
    "2026-02-30",
    DEEP,
]


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with ExitStack() as stack:
        yield Ward(tmp_path_factory.mktemp("ward"), stack)


def nodes(part: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document, as container and key."""
    for key in list(part) if isinstance(part, dict) else range(len(part)):
        yield part, key
        if isinstance(part[key], dict | list):
            yield from nodes(part[key])


def spoilt(seed: int) -> Fault:
    """One place of some answers becomes something else."""
    dice = random.Random(seed)  # noqa: S311 - the same every time

    def fault(request: Request, ask: Ask) -> Reply:
        answer = ask()
        content = bytes(answer.body) if isinstance(answer.body, bytes) else b""
        if dice.random() > 0.15 or not content or request.path.endswith("/metadata"):
            return answer
        body = json.loads(content)
        container, key = dice.choice(list(nodes(body)))
        if isinstance(container, dict) and dice.random() < 0.2:
            del container[key]
        else:
            container[key] = dice.choice(ODD)
        return replace(answer, body=json.dumps(body).replace('"deep"', "[" * 3000 + "]" * 3000).encode())

    return fault


@pytest.mark.parametrize("seed", range(int(os.environ.get("FUZZ", "20"))))
def test_a_run_over_spoilt_answers_ends_in_good_order(seed: int, ward: Ward) -> None:
    with ward.again() as (site, faults):
        faults.append(spoilt(seed))
        ended = night(site, expect=None)
        said = ended.stdout + ended.stderr + json.dumps(ended.summary)
        assert ended.exit_code in GOOD_ORDER, said[-800:]
        assert "error of its own" not in said
        assert CANARY not in said
        faults.append(NOTHING_WRONG)
        assert night(site, expect=None).exit_code in {ExitCode.DONE, ExitCode.SOME_PATIENTS_FAILED, ExitCode.TOO_LARGE}
