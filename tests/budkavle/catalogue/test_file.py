"""Catalogue files: all faults are reported at once, each with its line."""

import hashlib
from datetime import date
from pathlib import Path

import pytest

from budkavle.catalogue.file import read_catalogue
from domain.catalogue import Allowed, Catalogue, ClientCertificate, StaticHeader, System, TokenClient, WebMessageEvent
from domain.errors import BudkavleError
from domain.subscriptions import MessageType
from openapi.yaml_nodes import MAX_BYTES
from tests.budkavle.catalogue.catalogue_files import REST, SYSTEM, find_faults, write
from tests.catalogues import EMPTY, FINGERPRINT, OTHER_ID, SYSTEM_ID
from tests.processes import REPOSITORY


def test_example_uses_every_section_and_key(tmp_path: Path) -> None:
    path = REPOSITORY / "docs" / "catalogue.example.yaml"
    folder = path.parent
    assert read_catalogue(path) == Catalogue(
        systems={
            SYSTEM_ID: System(
                id=SYSTEM_ID,
                name="Fasit",
                base_url="https://fasit.example/star",
                certificates=frozenset({hashlib.sha256(b"test").hexdigest()}),
                webhook_secrets=("env:FASIT_SECRET_2", f"file:{folder}/secrets/fasit"),
                client_certificate=ClientCertificate(f"file:{folder}/certs/our.pem", f"file:{folder}/secrets/our.key"),
                ca=f"file:{folder}/certs/fasit-ca.pem",
                headers=(StaticHeader("X-Api-Key", "env:FASIT_GATEWAY_KEY"),),
                oauth2=TokenClient(
                    "https://login.fasit.example/oauth2/token",
                    "budkavle",
                    f"file:{folder}/secrets/fasit-client",
                    "star.webhooks",
                    "https://api.fasit.example",
                    "https://api.fasit.example/star",
                ),
            ),
            OTHER_ID: System(OTHER_ID, "Momentum", "http://10.1.2.3:8080", allow_private_addresses=True),
        },
        message_types={
            100008: MessageType(100008, "Kontaktgruppe", date(2024, 10, 1)),
            900001: MessageType(900001, "Webbesked"),
        },
        allowed=frozenset({Allowed(8, 100008), Allowed(7, 900001)}),
        web_message_event=WebMessageEvent(7, 281, 900001),
    )


def test_smallest_catalogue_is_empty(tmp_path: Path) -> None:
    assert read_catalogue(write(tmp_path, "systems: []\n" + REST)) == EMPTY
    assert read_catalogue(write(tmp_path, "\ufeff{systems: [], messageTypes: [], allowedSubscriptions: []}")) == EMPTY
    assert read_catalogue(write(tmp_path, "systems: []\n" + REST + "webMessageEvent: null\n")) == EMPTY


def test_optional_keys_may_be_null(tmp_path: Path) -> None:
    optional = ("webhookSecrets", "allowPrivateAddresses", "clientCertificate", "ca", "headers", "oauth2")
    nulls = "".join(f"    {key}: null\n" for key in optional)
    assert read_catalogue(write(tmp_path, SYSTEM + nulls + REST)) == read_catalogue(write(tmp_path, SYSTEM + REST))


def test_ids_and_fingerprints_are_stored_in_lower_case(tmp_path: Path) -> None:
    pairs = ":".join([FINGERPRINT[:2].upper()] * 32)
    text = SYSTEM.replace(SYSTEM_ID, SYSTEM_ID.upper()).replace(FINGERPRINT, pairs)
    assert read_catalogue(write(tmp_path, text + REST)).systems[SYSTEM_ID].certificates == {FINGERPRINT}


def test_dates_may_be_quoted(tmp_path: Path) -> None:
    types = "messageTypes: [{entityType: 0, name: x, startDato: '2024-02-29', slutDato: 2024-02-29}]\n"
    read = read_catalogue(write(tmp_path, f"systems: []\n{types}allowedSubscriptions: []"))
    assert read.message_types == {0: MessageType(0, "x", date(2024, 2, 29), date(2024, 2, 29))}


def test_all_faults_are_reported_together_with_their_lines(tmp_path: Path) -> None:
    text = f"""systems:
  - systemIdentifier: 550e8400-e29b-41d4-a716-44665544000
    name: 17
    name: Fasit
    baseUrl: http://fasit.example?q
    certificates: ["sha256:9f86d0", 5]
    webhookSecrets: [hunter2, env:1X, env:A, env:A]
    alowPrivateAddresses: false
    clientCertificate: {{certificate: our.pem}}
    ca: {{}}
  - systemIdentifier: {OTHER_ID}
    baseUrl: https://other.example
    certificates: [sha256:{FINGERPRINT}, sha256:{FINGERPRINT.upper()}]
  - systemIdentifier: {OTHER_ID.upper()}
    name: ""
    baseUrl: https://other.example
    certificates: file:x
  - Fasit
messageTypes:
  - {{entityType: 1, name: Type, startDato: 2024-10-01, slutDato: 2024-09-30}}
  - {{entityType: 1, name: no, startDato: 2024-02-30}}
  - {{entityType: 2147483648, name: Type}}
allowedSubscriptions:
  - {{orgType: -1, entityType: 2}}
  - {{orgType: 8, entityType: 1}}
  - {{orgType: 8, entityType: 1}}
webMessageEvent: {{orgType: "7", orgCode: 100000000, entityType: 3}}
"""
    known = (
        "systemIdentifier, name, baseUrl, certificates, webhookSecrets, allowPrivateAddresses, clientCertificate, ca, "
        "headers, oauth2"
    )
    pairs = "64 hexadecimal digits, colons between pairs allowed, or file:PATH"
    secret = "a webhook secret must be env:NAME or file:PATH, and never the secret itself"
    expected = [
        "2: systemIdentifier must be a UUID, not '550e8400-e29b-41d4-a716-44665544000'",
        "3: name must be text: put '17' in quotes",
        "4: a system has name on line 3 already",
        "5: baseUrl must begin with https://; http:// needs allowPrivateAddresses: true",
        "5: baseUrl must not have a query or a fragment",
        "6: a certificate must be text: put '5' in quotes",
        f"6: a certificate must be sha256: and {pairs}",
        "7: webhook secret env:A is a duplicate of line 7",
        f"7: {secret}",
        f"7: {secret}",
        f"8: a system has no key 'alowPrivateAddresses'; it has {known}",
        "9: certificate must be file:PATH",
        "9: clientCertificate lacks key",
        "10: ca must be text",
        "11: a system lacks name",
        f"13: certificate sha256:{FINGERPRINT} is a duplicate of line 13",
        f"14: system {OTHER_ID} is a duplicate of line 11",
        "15: name must not be blank",
        "17: certificates must be a list",
        f"18: a system must be a mapping with {known}",
        "20: slutDato 2024-09-30 is before startDato 2024-10-01",
        "21: message type 1 is a duplicate of line 20",
        "21: name must be text: put 'no' in quotes",
        "21: startDato must be a date such as 2024-10-01",
        "22: entityType must be an integer from 0 to 2147483647",
        "24: entityType 2 is not among the messageTypes",
        "24: orgType must be an integer from 0 to 2147483647",
        "26: orgType 8 with entityType 1 is a duplicate of line 25",
        "27: entityType 3 is not among the messageTypes",
        "27: orgCode must be an integer from -1 to 99999999",
        "27: orgType must be an integer from 0 to 2147483647",
    ]
    found = find_faults(tmp_path, text)
    assert [int(fault.split(":")[0]) for fault in found] == sorted(int(fault.split(":")[0]) for fault in found)
    assert sorted(found) == sorted(expected)
    assert "hunter2" not in "".join(found)


def test_every_section_is_required(tmp_path: Path) -> None:
    """A truncated file must not remove the missing sections from the catalogue."""
    assert find_faults(tmp_path, "systems: []\n") == [
        "1: the catalogue lacks allowedSubscriptions",
        "1: the catalogue lacks messageTypes",
    ]
    assert find_faults(tmp_path, "systems:\n" + REST) == ["1: systems must be a list"]
    for nothing in ("", "\n# nothing\n", "---\n"):
        assert len(find_faults(tmp_path, nothing)) == 1


@pytest.mark.parametrize(
    "value", ["010", "0x10", "1_000", "1:30", "1.0", "1e3", "+1", "'1'", "true", "null", "-1", "9" * 5000, "[1]"]
)
def test_numbers_must_be_decimal(tmp_path: Path, value: str) -> None:
    types = f"messageTypes: [{{entityType: {value}, name: x}}]\n"
    assert find_faults(tmp_path, f"systems: []\n{types}allowedSubscriptions: []") == [
        "2: entityType must be an integer from 0 to 2147483647"
    ]


@pytest.mark.parametrize("code", [-1, 0, 99999999])
def test_org_codes_have_limits(tmp_path: Path, code: int) -> None:
    text = f"""systems: []
messageTypes: [{{entityType: 2147483647, name: x}}]
allowedSubscriptions: [{{orgType: 2147483647, entityType: 2147483647}}]
webMessageEvent: {{orgType: 0, orgCode: {code}, entityType: 2147483647}}
"""
    assert read_catalogue(write(tmp_path, text)).web_message_event == WebMessageEvent(0, code, 2147483647)


@pytest.mark.parametrize(
    "value", ["5", "on", "2024-10-01", "1.5", "null", "~", "", "{}", "[x]", "!x y", '"a\\nb"', "' '"]
)
def test_names_are_text(tmp_path: Path, value: str) -> None:
    (fault,) = find_faults(tmp_path, SYSTEM.replace("name: Fasit", f"name: {value}") + REST)
    assert fault.startswith("3: name must")


@pytest.mark.parametrize("value", ["yes", "True", "'true'", "1", "{}"])
def test_flags_are_true_or_false(tmp_path: Path, value: str) -> None:
    (fault,) = find_faults(tmp_path, f"{SYSTEM}    allowPrivateAddresses: {value}\n{REST}")
    assert fault == "6: allowPrivateAddresses must be true or false"


@pytest.mark.parametrize("value", ["2024-1-1", "2024-10-01T00:00:00", "20241001", "1899-12-31", "3000-01-01", "{}"])
def test_days_are_dates(tmp_path: Path, value: str) -> None:
    types = f"messageTypes:\n- entityType: 1\n  name: x\n  startDato: {value}\n"
    (fault,) = find_faults(tmp_path, f"systems: []\n{types}allowedSubscriptions: []")
    assert fault == "5: startDato must be a date such as 2024-10-01"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("systems: [\n", "2: is not YAML: "),
        ("systems: []\nsystems: []\n" + REST, "2: the catalogue has systems on line 1 already"),
        ("a: 1\n\tb: 2\n", "2: is not YAML: "),
        ("--- {}\n--- {}\n", "2: is not YAML: "),
        (b"systems: []\nx: \xff\n", "2: is not UTF-8"),
        ("systems: []\nx: \x07\n", "2: contains a character that YAML does not allow"),
        ("\n- systems\n", "2: the catalogue must be a mapping with systems, messageTypes, allowedSubscriptions"),
        ("\ntext", "2: the catalogue must be a mapping with systems, messageTypes, allowedSubscriptions"),
        ("systems:\n- " + "[" * 100_000, "2: is not YAML: nested too deeply"),
        ("\n" + "{a: " * 30 + "}" * 30, "2: is not YAML: nested too deeply"),
        ("!!python/object/apply:os.system [ls]", "1: the catalogue must be a mapping with"),
    ],
    ids=["open", "twice", "tab", "two-documents", "not-utf-8", "control", "list", "text", "deep", "deep-keys", "tag"],
)
def test_invalid_catalogue_files_are_reported_with_their_line(tmp_path: Path, text: str | bytes, fault: str) -> None:
    (found,) = find_faults(tmp_path, text)
    assert found.startswith(fault)


def test_aliases_are_not_followed(tmp_path: Path) -> None:
    """Nine nested levels would expand to a billion elements; a list that contains itself would never end."""
    levels = "".join(f"  - &l{level} [{', '.join([f'*l{level - 1}'] * 9)}]\n" for level in range(1, 10))
    bomb = find_faults(tmp_path, f"systems:\n  - &l0 x\n{levels}{REST}")
    assert len(bomb) == 10
    assert all("a system must be a mapping" in fault for fault in bomb)
    (found,) = find_faults(tmp_path, f"systems: &all [*all]\n{REST}")
    assert found.startswith("1: a system must be a mapping with")
    assert found.endswith("; YAML aliases are not supported, so repeat the value")
    assert find_faults(tmp_path, SYSTEM.replace("name: Fasit", "name: *name") + REST) == [
        "3: name must be text; YAML aliases are not supported, so repeat the value"
    ]


def test_merge_keys_are_unknown_keys(tmp_path: Path) -> None:
    (found,) = find_faults(tmp_path, SYSTEM + "    <<: {name: x}\n" + REST)
    assert found.startswith("6: a system has no key '<<'")


def test_unreadable_files_are_reported_with_the_reason(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(BudkavleError, match=reason):
            read_catalogue(path)
    with pytest.raises(BudkavleError, match="is larger than"):
        read_catalogue(write(tmp_path, b"#" * (MAX_BYTES + 1)))
