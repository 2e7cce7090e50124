"""Reports without secrets: lines for the shell name its variables in the place of keys and certificates."""

import json
from xml.sax.saxutils import escape  # Writes XML, and reads none.

from contract_tests.curl import trust
from contract_tests.suites import Suite
from contract_tests.target import Target

_SECRET_LENGTH = 16
"""A shorter key is a word such as `demo`, which stands for other things too."""

_ESCAPES = {".xml": escape, ".json": lambda text: json.dumps(text)[1:-1]}
"""How a text stands in a file of each kind."""


def redact(suite: Suite, target: Target) -> None:
    """Changes the files of a suite in place."""
    publishes = "subscriptions" in suite.name and target.publish_key != target.api_key
    # Schemathesis takes keys out by itself; a line to paste needs something in their place.
    values = {
        "'apikey: [Filtered]'": f'"apikey: ${"PUBLISH_KEY" if publishes else "API_KEY"}"',
    }
    keys = {target.publish_key: "$PUBLISH_KEY", target.api_key: "$API_KEY"}
    for key, name in keys.items():
        if key is not None and len(key) >= _SECRET_LENGTH:
            # Near to the secret is as bad: some checks cut it off, or write it in other letters.
            near = {key: name, key[:-1]: f"{name} cut off", key.swapcase(): f"{name} in other letters"}
            values |= {form: instead for word, instead in near.items() for form in _forms(word)}
    if target.certificate is not None and not target.is_tls:
        values[f"'Client-Cert: {target.certificate.header}'"] = '"Client-Cert: $CLIENT_CERT"'
        values["'Client-Cert: [Filtered]'"] = '"Client-Cert: $CLIENT_CERT"'
        values[target.certificate.header] = "$CLIENT_CERT"
        values[target.certificate.header.strip(":")] = "$CLIENT_CERT"
    if suite.name.startswith("schema"):
        # What Schemathesis prints leaves out whom it trusts, and with which certificate it calls.
        words = " ".join(trust(target, with_certificate="subscriptions" in suite.name))
        values["curl -X"] = f"curl -sS -i {words} -X" if words else "curl -sS -i -X"
    for path in (suite.junit, suite.junit.with_suffix(".json"), suite.log):
        if path.exists():
            text = path.read_text(encoding="utf-8", errors="replace")
            for value, instead in values.items():
                text = text.replace(value, _ESCAPES.get(path.suffix, str)(instead))
            path.write_text(text, encoding="utf-8")


def _forms(word: str) -> tuple[str, ...]:
    """The word as it is, and as JSON, Python and XML write it."""
    written = (word, json.dumps(word)[1:-1], repr(word)[1:-1])
    return (*written, *(escape(text, {'"': "&quot;"}) for text in written), *(escape(text) for text in written))
