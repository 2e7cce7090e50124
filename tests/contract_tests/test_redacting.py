"""No file of a suite contains a key or a certificate in any notation."""

import json
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest

from contract_tests.redacting import Redactor, create_redactor, redact
from contract_tests.suites import Suite
from contract_tests.target import Certificate, CheckTarget

KEYS = {
    "plain": "Messages-Key-0123456789",
    "XML": 'a<b>&"c"-key-0123456789',
    "JSON": 'back\\slash-"quotes"-0123456789',
}
CERTIFICATE = f":{'MIIBszCC' * 20}:"


def list_files(suite: Suite, text: str) -> list[Path]:
    files = [suite.junit, suite.junit.with_suffix(".json"), suite.log]
    for file in files:
        file.write_text(text)
    return files


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_key_is_redacted_in_every_notation(key: str, tmp_path: Path) -> None:
    suite = Suite("rules", (), {}, tmp_path / "rules.xml", tmp_path / "rules.log")
    target = CheckTarget("http://127.0.0.1", key, "publish-" + key, Certificate("", None, CERTIFICATE))
    secrets = [key, f"publish-{key}", key[:-1], key.swapcase(), CERTIFICATE, CERTIFICATE.strip(":")]
    ways = [str, escape, lambda word: escape(word, {'"': "&quot;"}), lambda word: json.dumps(word)[1:-1], repr]
    files = list_files(suite, "\n".join(f"apikey: {way(word)};" for word in secrets for way in ways))

    redact(suite, target)

    for file in files:
        text = file.read_text()
        assert "0123456789" not in text
        assert "MIIBszCC" not in text
        assert "$API_KEY" in text
        assert "$PUBLISH_KEY" in text


def test_tokens_and_the_secret_of_the_client_are_redacted(tmp_path: Path) -> None:
    """Tokens that were fetched after the redactor was created are known as well."""
    tokens = tmp_path / "tokens"
    tokens.write_text("")
    redactor = create_redactor(CheckTarget("http://127.0.0.1", token_file=str(tokens)), "s3cret/of+the client")
    signatures = [letter.join("0123456789" * 4) * 2 for letter in "ab"]
    for signature in signatures:
        token = f"{'eyJhbGciOi' * 9}.{'eyJpc3MiOi' * 9}.{signature}"
        with tokens.open("a") as file:
            file.write(f"{token}\n")
        assert redactor.text(f"Bearer {token}; {quote('s3cret/of+the client')}") == "Bearer $TOKEN; $CLIENT_SECRET"
    assert redactor.text(" and ".join(signatures)) == "$TOKEN and $TOKEN"
    for client in ("a", "ab", "abc"):
        pair = f"{client}:{quote_plus('s3cret/of+the client')}"
        assert "$CLIENT_SECRET" in redactor.text(f"Basic {b64encode(pair.encode()).decode()}")


@pytest.mark.parametrize(
    ("name", "variable"), [("schema of web-messages", "API_KEY"), ("schema of subscriptions", "PUBLISH_KEY")]
)
def test_shell_command_has_a_variable_in_place_of_a_redacted_value(name: str, variable: str, tmp_path: Path) -> None:
    suite = Suite(name, (), {}, tmp_path / "schema.xml", tmp_path / "schema.log")
    target = CheckTarget("http://127.0.0.1", "a", "b", Certificate("", None, CERTIFICATE))
    (file, *_) = list_files(suite, f"curl -H 'apikey: [Filtered]' -H 'Client-Cert: {CERTIFICATE}'")

    redact(suite, target)

    assert file.read_text() == f'curl -H "apikey: ${variable}" -H "Client-Cert: $CLIENT_CERT"'


def test_word_that_equals_a_short_key_is_unchanged(tmp_path: Path) -> None:
    suite = Suite("rules", (), {}, tmp_path / "rules.xml", tmp_path / "rules.log")
    (file, *_) = list_files(suite, "a demo of demo")
    redact(suite, CheckTarget("http://127.0.0.1", "demo", "demo"))
    assert file.read_text() == "a demo of demo"


def test_body_of_blanks_is_read_in_linear_time() -> None:
    """The largest event that a rule sends consists of blanks. Reading them again from each one took minutes."""
    redactor = Redactor([("0123456789abcdefghijklmn", "$API_KEY")])
    text = f"0123456789abcdefghijklmn{' ' * 1_000_000}0123456789ab \t\r\n  cdefghijklmn"
    assert redactor.text(text) == f"$API_KEY{' ' * 1_000_000}$API_KEY"
