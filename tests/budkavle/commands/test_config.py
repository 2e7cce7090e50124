"""`budkavle config`: the settings in effect, as text and as JSON."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from budkavle.settings import Settings
from tests.budkavle.conftest import Invoke

URL = "postgresql://budkavle:s3cret@db.example:5432/budkavle?sslmode=require&sslpassword=s3cret"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BUDKAVLE_")]:
        monkeypatch.delenv(name)


def show_json(invoke: Invoke, url: str, *arguments: str, **settings: str) -> tuple[int, dict[str, Any], list[Any]]:
    """Return the exit code, the settings by variable, and the unknown variables."""
    result = invoke(url, "config", "show", "--json", *arguments, **settings)
    assert result.stderr == ""
    assert "s3cret" not in result.stdout
    shown = json.loads(result.stdout)
    return result.exit_code, {each.pop("variable"): each for each in shown["settings"]}, shown["unknown"]


def test_config_show_has_each_setting_with_its_origin(invoke: Invoke) -> None:
    code, settings, unknown = show_json(invoke, URL, "--port", "9", "--concurrency", "7", log_level="warning", host="")
    assert (code, unknown) == (0, [])
    assert list(settings) == [f"BUDKAVLE_{name.upper()}" for name in Settings.model_fields]
    assert settings["BUDKAVLE_LOG_LEVEL"] == {"value": "warning", "origin": "environment", "fault": None}
    assert settings["BUDKAVLE_PORT"] == {"value": 9, "origin": "option", "fault": None}
    assert settings["BUDKAVLE_WORKER_CONCURRENCY"] == {"value": 7, "origin": "option", "fault": None}
    # An empty variable counts as not set.
    assert settings["BUDKAVLE_HOST"] == {"value": "127.0.0.1", "origin": "default", "fault": None}
    assert settings["BUDKAVLE_ISSUERS"]["value"] is None


def test_config_show_masks_secrets(invoke: Invoke, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("s3cret")
    _, settings, _ = show_json(
        invoke,
        URL,
        open_e_external_url="https://user:s3cret@open-e.example/api/callback",
        open_e_external_password="s3cret",
        audit_seal_key=str(key),
        trusted_proxies="192.0.2.1,198.51.100.0/24",
    )
    values = {name.removeprefix("BUDKAVLE_"): each["value"] for name, each in settings.items()}
    assert values["DATABASE_URL"] == (
        "postgresql://budkavle:********@db.example:5432/budkavle?sslmode=require&sslpassword=********"
    )
    assert values["OPEN_E_EXTERNAL_URL"] == "https://********@open-e.example/api/callback"
    assert values["OPEN_E_EXTERNAL_PASSWORD"] == "********"
    assert values["OPEN_E_INTERNAL_PASSWORD"] is None
    assert values["AUDIT_SEAL_KEY"] == str(key)
    assert values["TRUSTED_PROXIES"] == ["192.0.2.1/32", "198.51.100.0/24"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////var/lib/budkavle.db", "sqlite:////var/lib/budkavle.db"),
        ("postgresql:///budkavle?host=/run/postgresql", "postgresql:///budkavle?host=/run/postgresql"),
        ("postgres://a@[::1]:5433/b?password=s3cret", "postgres://a@[::1]:5433/b?password=********"),
        # The end of these passwords is not certain.
        ("postgresql://user:12/s3cret@host/db", "********"),
        ("postgresql://user:s3?cret@host/db", "********"),
        ("mysql://user:s3cret@host/db", "********"),
        ("s3cret", "********"),
    ],
)
def test_config_show_shows_a_database_url_without_its_password(invoke: Invoke, url: str, shown: str) -> None:
    _, settings, _ = show_json(invoke, url)
    assert settings["BUDKAVLE_DATABASE_URL"]["value"] == shown


def test_config_show_names_invalid_values_and_unknown_variables_together(invoke: Invoke) -> None:
    faulty = {"tls_cert": "/s3cret", "delivery_timeout": "600", "port": "s3cret", "prot": "s3cret", "xyzzy": "1"}
    code, settings, unknown = show_json(invoke, "sqlite:///never.db", **faulty)
    assert code == 1
    faults = {name: each["fault"] for name, each in settings.items() if each["fault"]}
    assert faults.keys() == {"BUDKAVLE_TLS_CERT", "BUDKAVLE_DELIVERY_LEASE", "BUDKAVLE_PORT"}
    assert faults["BUDKAVLE_DELIVERY_LEASE"] == "must be more than BUDKAVLE_DELIVERY_TIMEOUT, which is 600"
    assert settings["BUDKAVLE_DELIVERY_TIMEOUT"]["value"] == 600
    assert unknown == [
        {"variable": "BUDKAVLE_PROT", "similar": "BUDKAVLE_PORT", "ignored": False},
        {"variable": "BUDKAVLE_XYZZY", "similar": None, "ignored": True},
    ]


def test_config_show_succeeds_with_a_setting_of_a_later_version(invoke: Invoke) -> None:
    result = invoke("sqlite:///x.db", "config", "show", later_setting="1")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].split(maxsplit=2)[2] == "is no setting of this version, and ignored"


def test_config_show_prints_a_line_per_setting(invoke: Invoke) -> None:
    result = invoke("sqlite:///x.db", "config", "show", port="s3cret", prot="1", trusted_proxies="192.0.2.1")
    assert result.exit_code == 1
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "BUDKAVLE_DATABASE_URL environment sqlite:///x.db" in lines
    assert "BUDKAVLE_TLS_CERT default" in lines
    assert "BUDKAVLE_TRUSTED_PROXIES environment 192.0.2.1/32" in lines
    assert any(line.startswith("BUDKAVLE_PORT environment invalid: ") for line in lines)
    assert lines[-1] == "BUDKAVLE_PROT environment is not a setting (did you mean BUDKAVLE_PORT?)"
    assert len(lines) == len(Settings.model_fields) + 1
