"""The findings of `make coverage` for a report, and valid reasons for all exceptions."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract_coverage import EXPLAINED, ROOT, SPECS, explain_differences, find_reason, find_uncovered, render_row

REASONS = [
    (name, place, reason)
    for name, places in yaml.safe_load(EXPLAINED.read_text()).items()
    for place, reason in places.items()
]
PLACE = "POST /x body application/json"


def report(*keywords: dict[str, Any], hits: int = 1) -> dict[str, Any]:
    body = {"location": "body", "media_type": "application/json", "keywords": list(keywords)}
    count = {"covered": 1, "total": 2}
    return {
        "operations": [{"method": "POST", "path": "/x", "hits": hits, "parameters": [body]}],
        "summary": dict.fromkeys(("operations", "parameters", "keywords", "examples", "responses"), count),
    }


def build_keyword(name: str, state: str, valid: int, invalid: int) -> dict[str, Any]:
    return {"schema_path": f"/{name}", "state": state, "valid": valid, "invalid": invalid}


def test_uncovered_lists_missing_tests_by_place() -> None:
    found = find_uncovered(
        report(
            build_keyword("type", "full", 2, 1),
            build_keyword("minLength", "partial", 2, 0),
            build_keyword("pattern", "partial", 0, 1),
            build_keyword("enum", "miss", 0, 0),
        )
    )
    assert found == {
        f"{PLACE} /minLength: no invalid value",
        f"{PLACE} /pattern: no valid value",
        f"{PLACE} /enum: no valid and no invalid value",
    }
    assert find_uncovered(report(hits=0)) == {"POST /x: never called"}


def test_differences_are_reported_in_both_directions() -> None:
    found = {"known", "new"}
    new, old = explain_differences("x", found, {"known": "for a reason", "old": "for a reason"})
    assert new.startswith("x: new; cover it")
    assert old.startswith("x: old is covered")
    assert explain_differences("x", found, dict.fromkeys(found, "for a reason")) == []


def test_reason_may_explain_all_places_of_a_pattern() -> None:
    found = {"form a/type: no", "form b/type: no", "form b/minLength: no"}
    explained = {"form */type: no": "all", "form b/type: no": "its own", "body */type: no": "none"}
    assert [find_reason(place, explained) for place in sorted(found)] == ["all", None, "its own"]
    new, old = explain_differences("x", found, explained)
    assert new.startswith("x: form b/minLength: no; cover it")
    assert old.startswith("x: body */type: no is covered")


def test_row_counts_covered_keywords() -> None:
    assert render_row("x", report()) == f"| x{' | 1 of 2' * 5} |"


@pytest.mark.parametrize(("name", "place", "reason"), REASONS)
def test_each_reason_names_an_existing_test_or_an_explanation(name: str, place: str, reason: str) -> None:
    assert name in SPECS
    assert place
    assert len(reason.split()) >= 6
    for path, test in re.findall(r"(\S+\.py)::(\w+)", reason):
        assert f"def {test}(" in Path(ROOT, path).read_text()
