"""Settings: read from the environment, each with a default and a description; invalid ones are reported in one line."""

import os
import re
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from budkavle.setting_values import COMPATIBILITY_APIS
from budkavle.settings import Settings, SettingsUnusable, read_settings
from budkavle.variables import OTHER_VARIABLES, check_variables
from contract_tests.suites import COMPATIBILITY_SPECS
from domain.web_messages import OepInstance
from handlers import contracts
from open_e.accounts import Account
from tests.processes import REPOSITORY

PAGE = (REPOSITORY / "docs" / "reference" / "settings.md").read_text()
ROWS = dict(re.findall(r"^\| `(BUDKAVLE_\w+)` \| (.*) \|$", PAGE, re.MULTILINE))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BUDKAVLE_")]:
        monkeypatch.delenv(name)


def render_default(name: str) -> str:
    """Return a default as the page of settings shows it; missing ones are blank."""
    value = Settings.model_fields[name].default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return "" if value in {None, "", ()} else f"`{value}`"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_setting_is_documented_with_default_and_sentence(name: str) -> None:
    variable = f"BUDKAVLE_{name.upper()}"
    assert variable in ROWS, f"{variable} is not in docs/reference/settings.md"
    default, _, sentence = ROWS[variable].partition("|")
    assert sentence.strip() == Settings.model_fields[name].description
    assert default.strip() == render_default(name)


def test_the_compatibility_apis_that_can_be_turned_on_are_those_that_exist() -> None:
    """The settings import no handlers, and the contract check imports neither, so each of them has their names."""
    assert COMPATIBILITY_APIS == contracts.COMPATIBILITY_APIS == COMPATIBILITY_SPECS


def test_documentation_names_only_existing_settings() -> None:
    assert set(ROWS) == {f"BUDKAVLE_{name.upper()}" for name in Settings.model_fields}
    for page in [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]:
        # A prefix such as BUDKAVLE_OPEN_E_… refers to several settings.
        named = re.findall(r"\b(BUDKAVLE_[A-Z_]*[A-Z])(?![A-Z_]*…|_)", page.read_text())
        assert set(named) <= {*ROWS, *OTHER_VARIABLES}, page.name


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_setting_has_a_default_and_a_sentence(name: str) -> None:
    field = Settings.model_fields[name]
    assert not field.is_required()
    assert field.description
    assert field.description.endswith(".")


def test_read_settings_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUDKAVLE_PORT", "81")
    monkeypatch.setenv("BUDKAVLE_OPEN_E_READ_TIMEOUT", "0.5")
    monkeypatch.setenv("BUDKAVLE_HOST", "")
    monkeypatch.setenv("budkavle_worker_port", "82")
    monkeypatch.setenv("BUDKAVLE_SETTING_OF_A_LATER_VERSION", "1")
    settings = read_settings()
    assert (settings.port, settings.open_e_read_timeout, settings.host) == (81, 0.5, "127.0.0.1")
    assert settings.worker_port == 82


def test_read_settings_prefers_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUDKAVLE_PORT", "81")
    assert read_settings(port=82).port == 82
    assert read_settings(port=None).port == 81


UNUSABLE = {
    "PORT": ["secret", "-1", "65536", "80.5"],
    "OPEN_E_EXTERNAL_URL": ["secret", "ftp://secret/api/callback", "https://"],
    "OPEN_E_INTERNAL_URL": ["//secret"],
    "COMPATIBILITY_APIS": ["secret", "web-messages-3.2,secret", "web-messages-3.2,"],
    "MUNICIPALITIES": ["secret", "2281,9999", ","],
    "OPEN_E_MUNICIPALITIES": ["/no/such/secret"],
    "OPEN_E_CONNECT_TIMEOUT": ["0", "-1", "secret", "inf", "nan"],
    "OPEN_E_READ_TIMEOUT": ["0", "100000"],
    "OPEN_E_THREADS": ["0", "1001", "secret"],
    "OPEN_E_QUEUE_TIMEOUT": ["0"],
    "OPEN_E_TIME_ZONE": ["secret", "Europe/Secret", "../secret", "/etc/secret", "secret\u0101"],
    "OPERATOR_WEBHOOK_URL": ["secret", "ftp://secret/"],
    "OPERATOR_WEBHOOK_SECRET": ["whsec_secret"],
    "OPERATOR_WEBHOOK_FAILING_MINUTES": ["0", "secret", "inf"],
    "WORKER_PORT": ["-1", "65536", "secret"],
    "WORKER_CONCURRENCY": ["0", "secret"],
    "RECEIVER_CONCURRENCY": ["0", "secret"],
    "DELIVERY_CONNECT_TIMEOUT": ["0", "inf", "secret"],
    "DELIVERY_TIMEOUT": ["0", "601", "secret"],
    "DELIVERY_LEASE": ["0", "15", "3601", "secret"],
    "EVENT_RETENTION_HOURS": ["0", "secret"],
    "RECEIPT_DAYS": ["0", "3651", "secret"],
    "STORED_EXTERNAL_DAYS": ["-1", "36501", "secret"],
    "STORED_INTERNAL_DAYS": ["-1", "nan"],
    "PUBLISHED_EXTERNAL_DAYS": ["-1", "inf"],
    "PUBLISHED_INTERNAL_DAYS": ["-1", "secret"],
    "PARKED_DAYS": ["-1", "secret"],
    "AUDIT_DAYS": ["-1", "secret"],
    "AUDIT_READ_MINUTES": ["-1", "1441", "secret"],
    "AUDIT_SEAL_KEY": ["/no/such/secret"],
    "AUDIT_SEAL_HOURS": ["-1", "8761", "secret"],
    "SHUTDOWN_TIMEOUT": ["-1", "secret"],
    "TLS_CERT": ["/no/such/secret", "/"],
    "TLS_KEY": ["/no/such/secret"],
    "CLIENT_CA": ["/no/such/secret"],
    "TRUSTED_PROXIES": [
        "secret",
        "192.0.2.1,secret",
        "192.0.2.1,",
        ",",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "::ffff:10.0.0.1/100",
    ],
    "DATABASE_URL": ["file:/no/such/secret", "file:/", "file:"],
    "OPEN_E_EXTERNAL_PASSWORD": ["file:/no/such/secret\u0101"],
    "LOG_FORMAT": ["secret"],
    "LOG_LEVEL": ["secret", "INFO"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in UNUSABLE.items() for value in values])
def test_read_settings_reports_an_invalid_setting_without_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"BUDKAVLE_{name}", value)
    with pytest.raises(SettingsUnusable) as caught:
        read_settings()
    message = str(caught.value)
    assert message.startswith(f"unusable settings: BUDKAVLE_{name}: ")
    assert "secret" not in message
    assert "\n" not in message
    assert caught.value.__cause__ is None


def test_read_settings_reports_all_invalid_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "LOG_LEVEL", "OPEN_E_THREADS"):
        monkeypatch.setenv(f"BUDKAVLE_{name}", "secret")
    with pytest.raises(SettingsUnusable) as caught:
        read_settings()
    assert re.findall(r"BUDKAVLE_(\w+)", str(caught.value)) == ["PORT", "OPEN_E_THREADS", "LOG_LEVEL"]


def test_secrets_are_masked() -> None:
    settings = Settings(
        database_url="postgresql://user:secret-1@host/db",
        open_e_external_password="secret-2",
        open_e_internal_password="secret-3",
    )
    for text in (repr(settings), str(settings), repr(settings.model_dump()), settings.model_dump_json()):
        assert "secret-" not in text
    accounts = Settings(open_e_external_url="http://host/", open_e_external_password="secret-4").build_accounts()
    assert "secret-" not in repr(accounts)


@pytest.mark.parametrize("text", ["a secret:file:", "a secret:file:\n"])
def test_read_settings_reads_a_secret_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    for name in ("database_url", "open_e_external_password", "open_e_internal_password"):
        monkeypatch.setenv(f"BUDKAVLE_{name.upper()}", f"file:{tmp_path / 'file'}")
        assert getattr(read_settings(), name).get_secret_value() == "a secret:file:"
    assert "a secret" not in repr(read_settings())
    monkeypatch.setenv("BUDKAVLE_OPEN_E_EXTERNAL_USERNAME", f"file:{tmp_path / 'file'}")
    assert read_settings().open_e_external_username == f"file:{tmp_path / 'file'}"


@pytest.mark.parametrize("content", [b"", b"\n", b"secret\nsecret", b"secret\xff"])
def test_read_settings_rejects_a_secret_file_without_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(SettingsUnusable) as caught:
        read_settings(database_url=f"file:{tmp_path / 'file'}")
    assert str(caught.value).startswith("unusable settings: BUDKAVLE_DATABASE_URL: the file ")
    assert "secret" not in str(caught.value)


def test_trusted_proxies_are_addresses_and_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().trusted_proxies == ()
    monkeypatch.setenv(
        "BUDKAVLE_TRUSTED_PROXIES", "192.0.2.7, 10.0.0.0/8,::1 ,2001:db8::/32,::ffff:192.0.2.8,::ffff:11.0.0.0/104"
    )
    networks = ["192.0.2.7/32", "10.0.0.0/8", "::1/128", "2001:db8::/32", "192.0.2.8/32", "11.0.0.0/8"]
    assert [str(network) for network in read_settings().trusted_proxies] == networks


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            {"trusted_proxies": "192.0.2.7,10.0.0.1/8"},
            "entry 2 must be an address, or a network without host bits such as 10.0.0.0/8",
        ),
        ({"open_e_time_zone": "Mars"}, "must be a time zone such as Europe/Stockholm"),
        ({"open_e_external_url": "host"}, "must be a URL such as https://host.example/path"),
        ({"party_url": "ftp://host/"}, "must be a URL such as https://host.example/path"),
        ({"link_operations": "maybe"}, "must be True or False"),
        ({"operator_webhook_secret": "x"}, "must be env:NAME or file:PATH"),
        ({"database_url": "file:"}, "file: must be followed by a path"),
        ({"delivery_lease": "15"}, "must be more than BUDKAVLE_DELIVERY_TIMEOUT, which is 15"),
    ],
)
def test_faults_say_what_is_expected(given: dict[str, str], text: str) -> None:
    [name] = given
    with pytest.raises(SettingsUnusable) as caught:
        read_settings(**given)
    assert str(caught.value) == f"unusable settings: BUDKAVLE_{name.upper()}: {text}"


def test_lease_must_exceed_an_attempt() -> None:
    with pytest.raises(SettingsUnusable, match="BUDKAVLE_DELIVERY_TIMEOUT, which is 40"):
        read_settings(delivery_timeout=40)
    assert read_settings(delivery_timeout=40, delivery_lease=41).delivery_lease == 41


def test_settings_reject_unknown_names() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Settings(unknown=1)


def test_settings_are_immutable() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1


def test_accounts_exist_for_configured_addresses() -> None:
    assert Settings().build_accounts() == {}
    settings = Settings(
        open_e_internal_url="https://staff.example/api/callback",
        open_e_internal_username="service",
        open_e_internal_password="word",
        open_e_external_username="alone",
    )
    account = Account("https://staff.example/api/callback", "service", "word")
    assert settings.build_accounts() == {OepInstance.INTERNAL: account}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["BUDKAVLE_PROT"], "BUDKAVLE_PROT is not a setting (did you mean BUDKAVLE_PORT?)"),
        (["budkavle_prot"], "budkavle_prot is not a setting (did you mean BUDKAVLE_PORT?)"),
        (
            ["BUDKAVLE_DATABASE", "BUDKAVLE_LOG_LEVLE", "BUDKAVLE_ZZZ"],
            (
                "BUDKAVLE_DATABASE is not a setting (did you mean BUDKAVLE_DATABASE_URL?); "
                "BUDKAVLE_LOG_LEVLE is not a setting (did you mean BUDKAVLE_LOG_LEVEL?)"
            ),
        ),
        (["BUDKAVLE_CHECK_APIKEY"], "BUDKAVLE_CHECK_APIKEY is not a setting (did you mean BUDKAVLE_CHECK_API_KEY?)"),
    ],
)
def test_check_variables_refuses_misspelt_settings(names: list[str], message: str) -> None:
    with pytest.raises(SettingsUnusable) as caught:
        check_variables(["PATH", "BUDKAVLE_PORT", *names])
    assert str(caught.value) == f"misspelt settings: {message}"


def test_check_variables_ignores_settings_that_a_later_version_may_have() -> None:
    """While both run, they have the same environment."""
    names = ["BUDKAVLE_", "BUDKAVLE_SERVICE_HOST", "BUDKAVLE_DATABASE_LONG_LOCK_TIMEOUT", "BUDKAVLE_DELIVERY_LIMIT"]
    assert check_variables(["PATH", "BUDKAVLE_PORT", *names]) == sorted(names)


def test_check_variables_accepts_each_known_variable() -> None:
    assert check_variables({"BUDKAVLE", "MY_BUDKAVLE_PROT", "budkavle_port", *ROWS, *OTHER_VARIABLES}) == []


def test_operations_certificates_name_operators() -> None:
    colons = ":".join(["AB"] * 32)
    settings = read_settings(operations_certificates=f"anna={colons}, Ben Ek = {'0f' * 32}")
    assert settings.build_operations_certificates() == {"ab" * 32: "anna", "0f" * 32: "Ben Ek"}
    assert Settings().build_operations_certificates() == {}


@pytest.mark.parametrize(
    "value", ["anna", "anna=ab", f"={'ab' * 32}", f"ip:1={'ab' * 32}", f"a={'ab' * 32},b={'AB' * 32}"]
)
def test_operations_certificates_need_a_name_and_a_fingerprint(value: str) -> None:
    with pytest.raises(SettingsUnusable, match=r"OPERATIONS_CERTIFICATES: entry \d must be NAME=SHA-256"):
        read_settings(operations_certificates=value)
