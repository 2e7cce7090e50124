"""The alert rules that operators load into Prometheus."""

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.processes import REPOSITORY

RULES = REPOSITORY / "docs" / "alerts" / "budkavle-alerts.yml"
SCENARIOS = REPOSITORY / "tests" / "budkavle-alerts.test.yml"


def read_rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian package prometheus)")
@pytest.mark.parametrize("arguments", [("check", "rules", RULES), ("test", "rules", SCENARIOS)], ids=["check", "test"])
def test_promtool_accepts_the_rules_and_their_scenarios(arguments: tuple[Any, ...]) -> None:
    result = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_rules_use_only_documented_metrics() -> None:
    reference = (REPOSITORY / "docs" / "reference" / "metrics.md").read_text()
    known = {
        (name, frozenset(labels.replace(",", "").split()))
        for name, labels in re.findall(r"^\| `(budkavle_\w+)` \| ([\w, ]*)\|", reference, re.MULTILINE)
    }
    for rule in read_rules():
        for name, selector in re.findall(r"(budkavle_\w+)(\{[^}]*\})?", rule["expr"]):
            (labels,) = [labels for known_name, labels in known if known_name == name]
            assert set(re.findall(r"(\w+)[=!]", selector)) <= labels, rule["alert"]


def test_guide_explains_every_alert() -> None:
    guide = (REPOSITORY / "docs" / "how-to" / "alerts.md").read_text()
    names = [rule["alert"] for rule in read_rules()]
    assert re.findall(r"^\| `(Budkavle\w+)` \|", guide, re.MULTILINE) == names


@pytest.mark.parametrize("is_firing", [True, False], ids=["fires", "does-not-fire"])
def test_every_alert_has_a_scenario_in_which_it(is_firing: bool) -> None:
    scenarios = yaml.safe_load(SCENARIOS.read_text())["tests"]
    tested = {
        test["alertname"]
        for each in scenarios
        for test in each.get("alert_rule_test", ())
        if bool(test.get("exp_alerts")) is is_firing
    }
    assert tested == {rule["alert"] for rule in read_rules()}
