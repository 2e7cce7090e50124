"""The dashboard that operators import into Grafana."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.processes import REPOSITORY

DASHBOARD = json.loads((REPOSITORY / "docs" / "dashboards" / "budkavle-dashboard.json").read_text())
ALERTS = REPOSITORY / "docs" / "how-to" / "alerts.md"
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*"}
"""Variables of Grafana and of the dashboard, with values that they can have."""


def iterate_targets() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel, target


def read_documented_metrics() -> dict[str, set[str]]:
    """Return the labels of each metric in the reference."""
    reference = (REPOSITORY / "docs" / "reference" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(budkavle_\w+)` \| ([\w, ]*)\|", reference, re.MULTILINE)
    return {name: set(labels.replace(",", "").split()) for name, labels in rows}


def test_panels_show_every_documented_metric_and_no_other() -> None:
    named = {
        re.sub(r"_bucket$", "", name)
        for _, target in iterate_targets()
        for name in re.findall(r"\bbudkavle_\w+", target["expr"])
    }
    assert named == set(read_documented_metrics())


def test_legends_use_labels_of_their_metric() -> None:
    documented = read_documented_metrics()
    for panel, target in iterate_targets():
        labels = {"instance"}.union(
            *(documented[name] for name in re.findall(r"(budkavle_\w+?)(?:_bucket)?\{", target["expr"]))
        )
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels, panel["title"]


def test_panels_name_existing_alerts() -> None:
    named = {name for panel in DASHBOARD["panels"] for name in re.findall(r"Budkavle\w+", panel.get("description", ""))}
    assert named
    assert named <= set(re.findall(r"^\| `(Budkavle\w+)` \|", ALERTS.read_text(), re.MULTILINE))


def test_dashboard_can_be_imported_into_any_grafana() -> None:
    assert (DASHBOARD["uid"], DASHBOARD["title"]) == ("budkavle", "Budkavle")
    # An id belongs to one Grafana, and the source of data is chosen there.
    assert "id" not in DASHBOARD
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel, target in iterate_targets():
        assert panel["datasource"] == target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["title"]
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    taken = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(set(taken)) == len(taken)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian package prometheus)")
def test_promtool_parses_every_query(tmp_path: Path) -> None:
    rules = []
    for number, (_, target) in enumerate(iterate_targets()):
        expression = target["expr"]
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        assert "$" not in expression
        rules.append({"record": f"query_{number}", "expr": expression})
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    command = ["promtool", "check", "rules", str(file)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
