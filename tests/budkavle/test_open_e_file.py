"""The file with the Open-E of municipalities that have their own."""

from pathlib import Path

import pytest

from budkavle.open_e import build_accounts, build_municipalities
from budkavle.open_e_file import read_municipal_accounts
from budkavle.settings import Settings, SettingsUnusable
from open_e.accounts import Account
from openapi.yaml_nodes import FileWrong


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "open-e.yaml"
    path.write_text(text)
    return path


def test_read_municipal_accounts_returns_accounts_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD_2281", "word")
    path = write(
        tmp_path,
        """
municipalities:
  "2281":
    external: {url: "https://e.example/api/callback", username: budkavle, password: "env:PASSWORD_2281"}
    internal: {url: "https://i.example/api/callback"}
  "22":
    external: {url: "http://127.0.0.1:1/api/callback"}
""",
    )
    own = {
        "2281/external": Account("https://e.example/api/callback", "budkavle", "word", "ca.pem"),
        "2281/internal": Account("https://i.example/api/callback", ca="ca.pem"),
        "22/external": Account("http://127.0.0.1:1/api/callback", ca="ca.pem"),
    }
    assert read_municipal_accounts(path, "ca.pem") == own
    settings = Settings(open_e_municipalities=path, open_e_external_url="https://shared.example/api/callback")
    assert set(build_accounts(settings)) == {*own, "external"}
    assert build_municipalities(settings, build_accounts(settings)).with_own_open_e == {"2281", "22"}


FAULTS = {
    "municipalities: {}": None,
    "other: {}": "lacks municipalities",
    'municipalities: {"9999": {external: {url: "https://e.example/"}}}': "is not the id of a municipality or county",
    "municipalities: {2281: {}}": "must be text",
    'municipalities: {"2281": {}}': "external, internal or both",
    'municipalities: {"2281": {staff: {}}}': "has no key 'staff'",
    'municipalities: {"2281": {external: {}}}': "lacks url",
    'municipalities: {"2281": {external: {url: "ftp://e.example/"}}}': "url must be https://host/api/callback",
    'municipalities: {"2281": {external: {url: "https://e.example/", username: a}}}': "belong together",
    'municipalities: {"2281": {external: {url: "https://e.example/", username: a, password: secret}}}': "env:NAME",
}


@pytest.mark.parametrize(("text", "fault"), FAULTS.items())
def test_read_municipal_accounts_reports_faults_without_secrets(tmp_path: Path, text: str, fault: str | None) -> None:
    path = write(tmp_path, text)
    if fault is None:
        assert read_municipal_accounts(path, None) == {}
        return
    with pytest.raises(FileWrong, match=fault) as caught:
        read_municipal_accounts(path, None)
    assert "secret" not in str(caught.value)
    with pytest.raises(SettingsUnusable, match="BUDKAVLE_OPEN_E_MUNICIPALITIES"):
        build_accounts(Settings(open_e_municipalities=path))
