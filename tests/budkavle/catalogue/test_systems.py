"""Systems in a catalogue file: the files to which they refer."""

import hashlib
import ssl
from pathlib import Path

import pytest
import trustme

from budkavle.catalogue.file import read_catalogue
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
