"""The settings of Schemathesis in `schemathesis.toml`."""

from schemathesis.config import SchemathesisConfig
from schemathesis.core.jsonschema.patterns import is_valid_jsonschema_rs_regex
from schemathesis.core.output.sanitization import sanitize_value

from contract_tests import schemathesis_hooks  # noqa: F401  # The import sets the limit of patterns.
from contract_tests.suites import HERE


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
