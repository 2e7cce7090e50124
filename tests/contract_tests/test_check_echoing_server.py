"""A server that repeats keys and certificates in its responses: the check must not print or write them."""

import base64
import html
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from budkavle.commands.contract_check import run_check
from budkavle.specs import find_spec_dir
from conftest import MESSAGES_KEY, PUBLISH_KEY
from contract_tests.redacting import create_redactor
from contract_tests.suites import SPECS, Check
from contract_tests.target import Certificate, CheckTarget, read_certificate
from tests.contract_tests.broken_server import Breakage, Forward, Request, ServerResponse
from tests.contract_tests.checking import Server
from tests.warm_suites import WarmSuite

KEY = "k3y/Of+the<tests>&\"0123456789'=x"
CERTIFICATE = base64.b64encode(bytes(range(256))).decode()

WAYS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "lower case": str.lower,
    "upper case": str.upper,
    "URL": lambda key: quote(key, safe=""),
    "URL, every byte": lambda key: "".join(f"%{byte:02x}" for byte in key.encode()),
    "URL, twice": lambda key: "".join(f"%25{byte:02X}" for byte in key.encode()),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 after one byte": lambda key: base64.b64encode(b"x" + key.encode()).decode(),
    "base64 of Basic": lambda key: base64.b64encode(f"me:{key}".encode()).decode(),
    "base64url": lambda key: base64.urlsafe_b64encode(b"{ " + key.encode() + b" }").decode(),
    "JSON": lambda key: json.dumps(key)[1:-1],
    "JSON, every character": lambda key: "".join(f"\\u{ord(letter):04x}" for letter in key),
    "JSON, twice": lambda key: json.dumps("".join(f"\\u{ord(letter):04X}" for letter in key))[1:-1],
    "Python": lambda key: repr("".join(f"\\x{ord(letter):02x}" for letter in key)),
    "hexadecimal": lambda key: key.encode().hex(),
    "HEXADECIMAL": lambda key: key.encode().hex().upper(),
    "HTML": html.escape,
    "HTML, every character": lambda key: "".join(f"&#x{ord(letter):X};" for letter in key),
    "HTML, decimal": lambda key: "".join(f"&#{ord(letter)};" for letter in key),
    "HTML of JSON": lambda key: html.escape(json.dumps(key)),
    "split over lines": lambda key: f"{key[:9]}\n    {key[9:20]}\n{key[20:]}",
    "split by pytest": lambda key: f"E   {key[:9]}\nE     {key[9:20]}\nE   {key[20:]}",
    "without its end": lambda key: key[: len(key) * 3 // 4] + "…",
    "without its beginning": lambda key: "…" + key[len(key) // 4 :],
}


def reveals(text: str, secret: str) -> bool:
    """Return whether a text in lower case contains a part of a secret that is longer than a half."""
    secret = secret.lower()
    size, step = len(secret) // 2 + 1, max(len(secret) // 4, 1)
    # Each such part contains a whole quarter. Searching the quarters first takes a hundredth of the time.
    quarters = (secret[at : at + step] for at in range(0, len(secret) - step + 1, step))
    return any(quarter in text for quarter in quarters) and any(
        secret[at : at + size] in text for at in range(len(secret) - size + 1)
    )


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("secret", [KEY, CERTIFICATE], ids=["key", "certificate"])
def test_secret_is_removed_in_every_notation(secret: str, way: Callable[[str], str]) -> None:
    redactor = create_redactor(CheckTarget("http://127.0.0.1", KEY, None, Certificate("", None, f":{CERTIFICATE}:")))
    written = way(secret)

    left = redactor.text(f"before <{written}> after")

    assert left.startswith("before <")
    assert left.endswith("> after")
    # One character at each end may remain, because its redaction may depend on its neighbour.
    assert len(left) - len("before <> after") - len("$CLIENT_CERT") < max(16, len(written) // 8), left
    assert ("$API_KEY" if secret is KEY else "$CLIENT_CERT") in left


def test_text_without_secrets_is_unchanged() -> None:
    redactor = create_redactor(CheckTarget("http://127.0.0.1", MESSAGES_KEY, PUBLISH_KEY))
    text = 'curl %7B%22a%22 \\u0041 &lt;x&gt;\r\n  messages-key publish\\n "tests" \udcff %zz &#99999999; ' * 50
    assert redactor.text(text) == text


async def echo_credentials(request: Request, forward: Forward) -> ServerResponse:
    """Repeat the credentials in a header and in every problem, with a wrong status."""
    response = await forward(request)
    secrets = [value for name in ("apikey", "client-cert", "authorization") if (value := request.header(name))]
    if not secrets or request.path.startswith(("/v1/abonnement/sync", "/v1/beskedtype")):
        return response
    echo = " ".join(way(secret) for secret in secrets for way in WAYS.values())
    response = response.with_header("x-echo", " ".join(quote(secret, safe="") for secret in secrets))
    value = response.json()
    if response.status >= 400 and isinstance(value, dict) and request.query == b"":
        body = {**value, "detail": echo, "title": secrets[0], "x": [secrets[0]]}
        return replace(response.with_json(body), status=422)
    return response


@pytest.fixture
def breakage() -> Breakage:
    return echo_credentials


def test_output_and_files_contain_no_secret(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = Check(server.target(), find_spec_dir(), tmp_path / "report", fail_fast=True, start=WarmSuite)
    checks = [replace(whole, profile="full", kinds=("rules", "raw-bytes"))]
    checks += [replace(whole, specs=(spec,), kinds=("schema",), report=tmp_path / spec) for spec in SPECS]
    for check in checks:
        assert run_check(check) == 1
        assert_clean(server, tmp_path, "".join(capsys.readouterr()))


def assert_clean(server: Server, folder: Path, printed: str) -> None:
    assert "BREAKS the contract" in printed
    certificate = read_certificate(server.certificate, None).header.strip(":")
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in {".pem", ".db"}]
    written = {str(path): path.read_bytes().decode("latin-1") for path in files if ".db-" not in path.name}
    assert any(name.endswith("summary.txt") for name in written)
    for name, text in {"the screen": printed, **written}.items():
        small = text.lower()
        for secret in (MESSAGES_KEY, PUBLISH_KEY, certificate):
            forms = (secret, *(WAYS[way](secret) for way in ("hexadecimal", "base64", "JSON, every character")))
            for form in forms:
                assert not reveals(small, form), (name, form)
