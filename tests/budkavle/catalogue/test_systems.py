"""Systems in a catalogue file: the files to which they refer."""

import hashlib
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from budkavle.catalogue.file import read_catalogue
from budkavle.catalogue.systems import OAUTH2_OPTIONAL, OAUTH2_REQUIRED
from delivery.static_headers import MAX_HEADERS
from domain.catalogue import ClientAuthentication, StaticHeader, TokenClient
from tests.budkavle.catalogue.catalogue_files import REST, SYSTEM, find_faults, write
from tests.catalogues import FINGERPRINT, SYSTEM_ID


def create_certificate() -> bytes:
    return trustme.CA().issue_cert("caller.example").cert_chain_pems[0].bytes()


def build_catalogue(folder: Path, data: bytes, name: str = "file:caller.pem") -> str:
    (folder / "caller.pem").write_bytes(data)
    return SYSTEM.replace(f"sha256:{FINGERPRINT}", name) + REST


def test_certificate_file_is_relative_to_the_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = create_certificate()
    fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode())).hexdigest()
    write(tmp_path, build_catalogue(tmp_path, b"Subject: words before it\n" + pem))
    for folder, path in ((tmp_path, "catalogue.yaml"), (tmp_path.parent, f"{tmp_path.name}/catalogue.yaml")):
        monkeypatch.chdir(folder)
        assert read_catalogue(Path(path)).systems[SYSTEM_ID].certificates == {fingerprint}


def test_references_become_absolute_and_links_are_not_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path, SYSTEM + "    webhookSecrets: [file:link/../link/secret, file:/etc/secret]\n" + REST)
    monkeypatch.chdir(tmp_path)
    secrets = read_catalogue(Path("catalogue.yaml")).systems[SYSTEM_ID].webhook_secrets
    assert secrets == (f"file:{tmp_path}/link/secret", "file:/etc/secret")


def test_certificate_files_must_contain_exactly_one_certificate(tmp_path: Path) -> None:
    pem = create_certificate()
    broken = pem.replace(b"M", b"N", 20)
    for data, reason in (
        (b"", "contains no readable certificate in PEM format"),
        (broken, "contains no readable certificate in PEM format"),
        (pem + create_certificate(), "holds 2 certificates"),
        (b"#" * (1024 * 1024 + 1), "is larger than"),
    ):
        (found,) = find_faults(tmp_path, build_catalogue(tmp_path, data))
        assert found.startswith(f"5: {tmp_path}/caller.pem {reason}")
    (found,) = find_faults(tmp_path, build_catalogue(tmp_path, b"", "file:none.pem"))
    assert found == f"5: {tmp_path}/none.pem cannot be read: No such file or directory"


def read_system(folder: Path, text: str) -> Any:
    return read_catalogue(write(folder, SYSTEM + text + REST)).systems[SYSTEM_ID]


def test_headers_are_references_sorted_by_name(tmp_path: Path) -> None:
    system = read_system(tmp_path, "    headers: {X-Api-Key: env:KEY, Authorization: file:basic}\n")
    assert system.headers == (
        StaticHeader("Authorization", f"file:{tmp_path}/basic"),
        StaticHeader("X-Api-Key", "env:KEY"),
    )


def test_faults_of_headers_are_reported_without_values(tmp_path: Path) -> None:
    text = """    headers:
      Host: env:A
      webhook-Id: env:A
      "X Key": env:A
      X-Å: env:A
      X-Key: hunter2
      x-key: env:B
      X-KEY: env:C
      X-Other: {a: hunter2}
      7: env:A
      Authorization: env:A
    oauth2: {tokenUrl: https://login.example/token, clientId: a, clientSecret: env:A}
"""
    reserved = "is reserved: the service sets it, or it belongs to the connection"
    wrong = "must be the name of a header: at most 64 letters, digits and hyphens"
    assert find_faults(tmp_path, SYSTEM + text + REST) == [
        f"7: header 'Host' {reserved}",
        f"8: header 'webhook-Id' {reserved}",
        f"9: header 'X Key' {wrong}",
        f"10: header 'X-Å' {wrong}",
        "11: header 'X-Key' must be env:NAME or file:PATH, and never the value itself",
        "13: header x-key is a duplicate of line 12",
        "14: header 'X-Other' must be text",
        "15: the name of a header must be text: put '7' in quotes",
        "16: header 'Authorization' has the token of oauth2; remove one of them",
    ]


def test_headers_have_a_limit(tmp_path: Path) -> None:
    text = "    headers:\n" + "".join(f"      X-{number}: env:A\n" for number in range(MAX_HEADERS))
    assert len(read_system(tmp_path, text).headers) == MAX_HEADERS
    assert find_faults(tmp_path, SYSTEM + text + "      X-Last: env:A\n" + REST) == [
        "7: headers has 17 entries; at most 16 are allowed"
    ]
    (fault,) = find_faults(tmp_path, SYSTEM + "    headers: [env:A]\n" + REST)
    assert fault == "6: headers must be a mapping"


def test_client_for_tokens_is_read(tmp_path: Path) -> None:
    required = "tokenUrl: 'HTTPS://Login.Example/Token/?p=1', clientId: a b, clientSecret: file:secret"
    system = read_system(tmp_path, f"    oauth2: {{{required}}}\n")
    assert system.oauth2 == TokenClient("https://login.example/Token/?p=1", "a b", f"file:{tmp_path}/secret")
    text = f"    oauth2: {{{required}, scope: a b, audience: c, resource: d, authentication: client_secret_post}}\n"
    client = read_system(tmp_path, text).oauth2
    assert (client.scope, client.audience, client.resource) == ("a b", "c", "d")
    assert client.authentication is ClientAuthentication.POST


def test_faults_of_a_client_for_tokens_are_reported_without_the_secret(tmp_path: Path) -> None:
    text = """    oauth2:
      tokenUrl: http://user:hunter2@10.0.0.1/token#x
      clientId: å
      clientSecret: hunter2
      scope: ""
      audience: 5
      authentication: private_key_jwt
      grantType: password
"""
    assert find_faults(tmp_path, SYSTEM + text + REST) == [
        "7: tokenUrl must begin with https://; http:// needs allowPrivateAddresses: true",
        "7: tokenUrl must not have a query or a fragment",
        "7: tokenUrl must not have a user or a password",
        "7: tokenUrl must not have the private address 10.0.0.1 without allowPrivateAddresses: true",
        "8: clientId must be at most 1024 ASCII characters",
        "9: clientSecret must be env:NAME or file:PATH, and never the secret itself",
        "10: scope must not be blank",
        "11: audience must be text: put '5' in quotes",
        "12: authentication must be client_secret_basic or client_secret_post",
        f"13: oauth2 has no key 'grantType'; it has {', '.join((*OAUTH2_REQUIRED, *OAUTH2_OPTIONAL))}",
    ]
    assert find_faults(tmp_path, SYSTEM + "    oauth2: {}\n" + REST) == [
        f"6: oauth2 lacks {name}" for name in ("clientId", "clientSecret", "tokenUrl")
    ]
