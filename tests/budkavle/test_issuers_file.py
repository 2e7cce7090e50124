"""Files of issuers: all faults are reported at once, each with its line."""

from pathlib import Path

import pytest

from budkavle.issuers_file import MAX_BYTES, OPTIONAL, REQUIRED, read_issuers
from domain.errors import BudkavleError
from oauth2.issuers import ALGORITHMS, Issuer, TrustedIssuers
from openapi.yaml_nodes import FileWrong
from tests.tokens import create_token_key, write_key_set

FULL = """resource: https://budkavle.example/api
issuers:
  - issuer: https://issuer.example
    audience: [https://budkavle.example, budkavle]
    algorithms: [RS256, ES256]
    jwks: https://issuer.example/jwks.json
    type: application/AT+JWT
    clockToleranceSeconds: 0
    scopes:
      claim: scp
      map:
        "wms:write": messages
        "wms:all": [messages.read, "publish:7:281"]
    systems: {claim: system}
    header: X-JWT-Assertion
"""
SMALL = """issuers:
  - issuer: https://issuer.example
    audience: https://budkavle.example
    algorithms: [ES256]
    jwks: https://issuer.example/jwks.json
    scopes: {map: {"wms:write": publish}}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "issuers.yaml"
    path.write_text(text)
    return path


def find_faults(folder: Path, text: str) -> list[str]:
    """Return the faults of a file as `LINE: TEXT`."""
    path = write(folder, text)
    with pytest.raises(FileWrong) as caught:
        read_issuers(path)
    first, *lines = str(caught.value).splitlines()
    assert first == "the file of issuers is invalid"
    return [line.removeprefix(f"{path}:") for line in lines]


def test_read_issuers_returns_every_value(tmp_path: Path) -> None:
    assert read_issuers(write(tmp_path, FULL)) == TrustedIssuers(
        issuers=(
            Issuer(
                issuer="https://issuer.example",
                audiences=("https://budkavle.example", "budkavle"),
                algorithms=frozenset({"RS256", "ES256"}),
                jwks="https://issuer.example/jwks.json",
                type="at+jwt",
                clock_tolerance=0,
                scope_claim="scp",
                scope_map={
                    "wms:write": frozenset({"messages.read", "messages.write"}),
                    "wms:all": frozenset({"messages.read", "publish:7:281"}),
                },
                system_claim="system",
                header="x-jwt-assertion",
            ),
        ),
        resource="https://budkavle.example/api",
    )


def test_read_issuers_has_strict_defaults(tmp_path: Path) -> None:
    trusted = read_issuers(write(tmp_path, SMALL))
    (issuer,) = trusted.issuers
    assert (issuer.type, issuer.clock_tolerance, issuer.scope_claim) == ("at+jwt", 10, "scope")
    assert (issuer.system_claim, issuer.header) == (None, None)
    assert trusted.resource == "https://budkavle.example"


def test_resource_is_the_first_audience_that_is_an_https_url(tmp_path: Path) -> None:
    audience = "audience: https://budkavle.example"
    assert read_issuers(write(tmp_path, SMALL.replace(audience, "audience: budkavle"))).resource is None
    several = SMALL.replace(audience, "audience: [budkavle, http://a.example, https://b.example, https://c.example]")
    assert read_issuers(write(tmp_path, several)).resource == "https://b.example"


def test_file_of_keys_is_relative_to_the_file_of_issuers(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    path = write_key_set(tmp_path / "keys" / "jwks.json")
    (issuer,) = read_issuers(
        write(tmp_path, SMALL.replace("https://issuer.example/jwks.json", "file:keys/jwks.json"))
    ).issuers
    assert issuer.jwks == f"file:{path}"


def test_two_headers_of_one_issuer_are_two_issuers(tmp_path: Path) -> None:
    second = SMALL.removeprefix("issuers:\n") + "    header: X-JWT-Assertion\n"
    assert [each.header for each in read_issuers(write(tmp_path, SMALL + second)).issuers] == [None, "x-jwt-assertion"]


IDENTIFIER = "must have at most 255 characters, without spaces and #"
URL = "5: jwks must be https://HOST/PATH without user and fragment, or file:PATH"
MAP = "6: map must be a mapping from values of the claim to scopes, with at least one"
JWKS = "https://issuer.example/jwks.json"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("https://issuer.example\n", "https://issuer.example#a\n", f"2: issuer {IDENTIFIER}"),
        ("https://issuer.example\n", "7\n", "2: issuer must be text: put '7' in quotes"),
        ("    audience: https://budkavle.example\n", "", "2: an issuer lacks audience"),
        ("https://budkavle.example", "[]", "3: audience must not be empty"),
        ("https://budkavle.example", "[budkavle, a b]", f"3: audience {IDENTIFIER}"),
        ("[ES256]", "[]", "4: algorithms must not be empty"),
        ("[ES256]", "ES256", "4: algorithms must be a list"),
        ("[ES256]", "[HS256]", f"4: algorithms must not contain 'HS256'; it may have {', '.join(ALGORITHMS)}"),
        ("[ES256]", "[none]", f"4: algorithms must not contain 'none'; it may have {', '.join(ALGORITHMS)}"),
        (JWKS, "http://issuer.example", URL),
        (JWKS, "https://user:secret@issuer.example", URL),
        (JWKS, "https:///jwks.json", URL),
        (JWKS, "https://issuer.example:port", URL),
        (JWKS, "https://issuer.exämple", URL),
        ('{map: {"wms:write": publish}}', "{}", "6: scopes lacks map"),
        ('{"wms:write": publish}', "{}", MAP),
        ('{"wms:write": publish}', "[publish]", MAP),
        ("publish}", "[]}", "6: the scopes of a value must not be empty"),
        ("publish}", 'publish, "wms:write": messages}', "6: value 'wms:write' is a duplicate of line 6"),
        ("{map:", "{claim: aud, map:", "6: the claim of scopes must not be aud, which has another meaning"),
        (
            "issuers:",
            "resource: http://a.example\nissuers:",
            "1: resource must be an https URL without user and fragment",
        ),
    ],
)
def test_read_issuers_reports_fault(tmp_path: Path, old: str, new: str, fault: str) -> None:
    assert old in SMALL
    assert find_faults(tmp_path, SMALL.replace(old, new, 1)) == [fault]


@pytest.mark.parametrize(
    ("added", "fault"),
    [
        ("systems: {}", "systems lacks claim"),
        ("systems: {claim: iss}", "the claim of systems must not be iss, which has another meaning"),
        ("clockToleranceSeconds: 301", "clockToleranceSeconds must be an integer from 0 to 300"),
        ("header: a b", "header must be the name of an HTTP header"),
        ("header: Apikey", "header must not be Apikey; name the header of the gateway, or omit it for Authorization"),
        ("secret: x", f"an issuer has no key 'secret'; it has {', '.join([*REQUIRED, *OPTIONAL])}"),
    ],
)
def test_read_issuers_reports_fault_of_optional_part(tmp_path: Path, added: str, fault: str) -> None:
    assert find_faults(tmp_path, f"{SMALL}    {added}\n") == [f"7: {fault}"]


def test_unknown_scope_is_a_fault(tmp_path: Path) -> None:
    (fault,) = find_faults(tmp_path, SMALL.replace("publish}", "admin}"))
    assert fault.startswith("6: 'admin' is not a scope: use one of messages, ")


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    lines = [
        "issuers:",
        "  - issuer: a b",
        "    audience: 1",
        "    algorithms: [HS256]",
        "    jwks: http://a",
        "    scopes: {map: {a: b}}",
    ]
    found = [fault.partition(":")[0] for fault in find_faults(tmp_path, "\n".join(lines))]
    assert found == ["2", "3", "4", "5", "6"]


def test_same_issuer_and_header_twice_is_a_fault(tmp_path: Path) -> None:
    text = SMALL + SMALL.removeprefix("issuers:\n")
    assert find_faults(tmp_path, text) == [
        "7: issuer 'https://issuer.example' with the header authorization is a duplicate of line 2"
    ]


def test_file_without_issuers_is_a_fault(tmp_path: Path) -> None:
    assert find_faults(tmp_path, "issuers: []\n") == ["1: issuers must have at least one issuer"]
    assert find_faults(tmp_path, "{}\n") == ["1: the file lacks issuers"]


def test_file_of_keys_must_have_a_usable_key(tmp_path: Path) -> None:
    text = SMALL.replace("https://issuer.example/jwks.json", "file:jwks.json")
    missing = f"The JWK Set {tmp_path}/jwks.json cannot be read: No such file or directory"
    assert find_faults(tmp_path, text) == [f"5: file:jwks.json: {missing}"]
    write_key_set(tmp_path / "jwks.json", create_token_key("Ed25519"))
    assert find_faults(tmp_path, text) == ["5: file:jwks.json has no key for ES256"]
    write_key_set(tmp_path / "jwks.json")
    assert read_issuers(write(tmp_path, text)).issuers


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BudkavleError, match="cannot be read"):
        read_issuers(tmp_path / "issuers.yaml")


def test_file_that_takes_seconds_to_parse_is_an_error(tmp_path: Path) -> None:
    """A running service reads the file in its event loop."""
    text = SMALL + "#" * (MAX_BYTES - len(SMALL))
    assert read_issuers(write(tmp_path, text)).issuers
    with pytest.raises(BudkavleError, match=rf"is larger than {MAX_BYTES} bytes"):
        read_issuers(write(tmp_path, text + "#"))
