"""The settings of Schemathesis in `schemathesis.toml`."""

import subprocess
import sys
from pathlib import Path

from hypothesis.internal import charmap
from schemathesis.config import SchemathesisConfig
from schemathesis.core.jsonschema.patterns import is_valid_jsonschema_rs_regex
from schemathesis.core.output.sanitization import sanitize_value

from contract_tests import schemathesis_hooks  # noqa: F401  # The import sets the limit of patterns.
from contract_tests.suites import HERE, Check, plan_lanes
from contract_tests.target import CheckTarget


def test_shell_commands_contain_only_the_keys_of_references() -> None:
    sanitization = SchemathesisConfig.from_path(HERE / "schemathesis.toml").output.sanitization
    body = {"externalReferences": [{"key": "flowInstanceId", "value": "1068"}]}
    headers = {"apikey": "secret", "x-request-id": "named"}
    for sent in (body, headers):
        sanitize_value(sent, config=sanitization)
    assert body == {"externalReferences": [{"key": "flowInstanceId", "value": "1068"}]}
    assert headers == {"apikey": "[Filtered]", "x-request-id": "named"}


def test_patterns_that_contain_a_large_length_are_not_compiled() -> None:
    """Compiling those of the contracts took a second each, and failed in the end."""
    assert is_valid_jsonschema_rs_regex("^[^x]{0,100}$")
    assert not is_valid_jsonschema_rs_regex("^[^x]{0,50000}$")


READ_TABLE = """
from hypothesis.internal import charmap
# It needs this module to try all characters.
charmap.sys = None
print(*(found.intervals for found in charmap.intervals_from_codec("utf-8")))
"""


def test_hypothesis_does_not_try_to_encode_all_characters(tmp_path: Path) -> None:
    """It would take more than a second in each suite, since the folder of Hypothesis is new."""
    check = Check(CheckTarget("http://127.0.0.1:1", api_key="k"), tmp_path, tmp_path, kinds=("schema",))
    suites = [suite for lanes in plan_lanes(check, tmp_path) for lane in lanes for suite in lane]
    for suite in suites:
        command = [sys.executable, "-P", "-c", READ_TABLE]
        result = subprocess.run(command, env=suite.environment, capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 0, result.stderr
        assert result.stdout.strip() == " ".join(
            str(found.intervals) for found in charmap.intervals_from_codec("utf-8")
        )
    assert len(suites) == 2
