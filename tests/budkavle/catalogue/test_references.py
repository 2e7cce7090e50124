"""`budkavle apply --check`: every reference of a catalogue is resolved on this machine."""

from datetime import timedelta
from pathlib import Path

import pytest

from budkavle.catalogue.file import read_catalogue
from budkavle.clock import now
from openapi.yaml_nodes import FileWrong
from tests.budkavle.catalogue.catalogue_files import REST, SYSTEM, write
from tests.budkavle.conftest import Invoke
from tests.certificates import Authority

DAY = timedelta(days=1)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLwSw"


def list_faults(folder: Path, system: str) -> list[str]:
    """Return the faults of a system on this machine as `LINE: TEXT`, with file names instead of paths."""
    path = write(folder, SYSTEM + system + REST)
    read_catalogue(path)
    with pytest.raises(FileWrong) as caught:
        read_catalogue(path, now())
    _, *lines = str(caught.value).splitlines()
    return [line.removeprefix(f"{path}:").replace(f"file:{folder}/", "file:") for line in lines]


@pytest.fixture
def folder(tmp_path: Path, authority: Authority) -> Path:
    """Return a folder with valid and invalid files."""
    files = {
        "pair.pem": authority.issue(),
        "other.pem": authority.issue(),
        "expired.pem": authority.issue(begins=now() - 9 * DAY, ends=now() - DAY),
        "early.pem": authority.issue(begins=now() + DAY, ends=now() + 9 * DAY),
    }
    for name, issued in files.items():
        (tmp_path / name).write_bytes(issued.file.read_bytes())
    (tmp_path / "ca.pem").write_bytes(authority.file.read_bytes())
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "text").write_text("hunter2 is no secret of this kind")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    return tmp_path


def test_check_reports_all_references_together_by_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, database_url: str, invoke: Invoke
) -> None:
    monkeypatch.setenv("GOOD", SECRET)
    monkeypatch.setenv("BAD", "hunter2!")
    monkeypatch.setenv("MULTIPLE", "hunter2\r\nX-Other: 1")
    system = """    webhookSecrets: [
      "env:NOT_SET",
      "env:BAD",
      "env:GOOD",
      "file:absent",
      "file:text",
      "file:binary",
      "file:secret"]
    clientCertificate:
      certificate: file:absent.pem
      key: file:absent.key
    ca: file:text
    headers:
      X-1: env:NOT_SET
      X-2: file:binary
      X-3: env:MULTIPLE
      X-4: env:BAD
    oauth2:
      tokenUrl: https://login.example/token
      clientId: a
      clientSecret: file:absent
"""
    found = list_faults(folder, system)
    assert found == [
        "7: env:NOT_SET is not set",
        "8: env:BAD contains no secret: it must be base64, optionally after whsec_",
        "10: file:absent cannot be read: No such file or directory",
        "11: file:text contains no secret: it must be base64, optionally after whsec_",
        "12: file:binary is not UTF-8 text",
        "15: file:absent.pem cannot be read: No such file or directory",
        "16: file:absent.key cannot be read: No such file or directory",
        "17: file:text contains no readable certificate in PEM format",
        "19: env:NOT_SET is not set",
        "20: file:binary is not UTF-8 text",
        "21: env:MULTIPLE must contain 1 to 4096 printable ASCII characters",
        "26: file:absent cannot be read: No such file or directory",
    ]
    result = invoke(database_url, "apply", "--check", str(folder / "catalogue.yaml"))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1 + len(found)
    assert "hunter2" not in result.stderr
    assert SECRET not in result.stderr


@pytest.mark.parametrize(
    ("certificate", "key", "expected"),
    [
        (
            "pair.pem",
            "other.pem",
            "8: file:pair.pem and file:other.pem are not a certificate and its key in PEM format",
        ),
        ("ca.pem", "ca.pem", "8: file:ca.pem and file:ca.pem are not a certificate and its key in PEM format"),
        ("expired.pem", "expired.pem", "7: file:expired.pem: the certificate has expired on "),
        ("early.pem", "early.pem", "7: file:early.pem: the certificate is not valid before "),
        ("text", "pair.pem", "7: file:text contains no readable certificate in PEM format"),
    ],
)
def test_check_reads_client_certificates(folder: Path, certificate: str, key: str, expected: str) -> None:
    found = list_faults(
        folder, f"    clientCertificate:\n      certificate: file:{certificate}\n      key: file:{key}\n"
    )
    assert found[0].startswith(expected), found


def test_check_reads_the_dates_of_a_ca(folder: Path) -> None:
    (fault,) = list_faults(folder, "    ca: file:expired.pem\n")
    assert fault.startswith("6: file:expired.pem: the certificate has expired on ")


def test_check_also_reports_faults_of_the_file(folder: Path) -> None:
    path = write(folder, SYSTEM.replace("https://", "ftp://") + '    webhookSecrets: ["env:NOT_SET"]\n' + REST)
    with pytest.raises(FileWrong) as caught:
        read_catalogue(path, now())
    assert ["baseUrl" in line or "NOT_SET" in line for line in str(caught.value).splitlines()] == [False, True, True]


def test_check_changes_nothing_and_needs_no_database(folder: Path, invoke: Invoke) -> None:
    system = """    webhookSecrets: ["file:secret"]
    clientCertificate: {certificate: file:pair.pem, key: file:pair.pem}
    ca: file:ca.pem
"""
    path = write(folder, SYSTEM + system + REST)
    url = f"sqlite:///{folder}/absent.db"
    result = invoke(url, "apply", str(path), "--check")
    assert (result.exit_code, result.stderr) == (0, "")
    assert not (folder / "absent.db").exists()
    for option in ("--dry-run", "--prune"):
        assert invoke(url, "apply", str(path), "--check", option).exit_code == 2
