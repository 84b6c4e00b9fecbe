"""Alert rules and dashboard: their expressions can be read, and every metric in them is one that screener has."""

import json
import re
from pathlib import Path

import promql_parser
import pytest
import yaml

from screener.operations import metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
KNOWN = {f"screener_{name}" for name in (*metrics.OF_RUN, "patients_to_retry", "next_start_timestamp_seconds")}


def expressions() -> list[str]:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    panels = json.loads((DEPLOY / "grafana" / "screener.json").read_text())["panels"]
    return [rule["expr"] for group in rules["groups"] for rule in group["rules"]] + [
        target["expr"] for panel in panels for target in panel["targets"]
    ]


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_is_promql_over_metrics_that_there_are(expression: str) -> None:
    promql_parser.parse(expression)
    named = set(re.findall(r"screener_\w+", expression))
    assert named
    assert named <= KNOWN


def test_every_alert_says_what_to_do() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 5
    for rule in rules:
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}


def test_the_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((DEPLOY / "grafana" / "screener.json").read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
