"""All settings, from the environment: `BUDKAVLE_` and the name in capitals."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from budkavle.setting_values import (
    FAULT_TEXTS,
    Network,
    check_reference,
    check_time_zone,
    parse_apis,
    parse_certificates,
    parse_municipalities,
    parse_networks,
    parse_references,
)
from domain.errors import BudkavleError
from domain.publications import CallTimes, SettlingRules
from domain.retention import DataKind, RetentionRule
from domain.web_messages import MessageState, OepInstance
from open_e.accounts import Account
from openapi.server.limits import ConnectionLimits
from persistence.waits import Waits

PREFIX = "BUDKAVLE_"


_FOR_EVER = "; 0: until it is deleted."

LARGEST_BODY = 157_286_400
"""Bytes of the largest body that a contract allows."""


class SettingsUnusable(BudkavleError):
    """A setting cannot be used."""


def _read_secret_file(given: object) -> object:
    """Return the line in the file that `file:PATH` names; return any other value unchanged.

    A fault does not contain the content of the file.
    """
    if not isinstance(given, str) or not given.startswith(FILE_PREFIX):
        return given
    path = given.removeprefix(FILE_PREFIX)
    if not path:
        raise PydanticCustomError("secret_file", "file: must be followed by a path")
    try:
        text = Path(path).read_text(encoding="utf-8").removesuffix("\n")
    except OSError as exc:
        raise PydanticCustomError("secret_file", "the file cannot be read: {cause}", {"cause": exc.strerror}) from None
    except ValueError:
        raise PydanticCustomError("secret_file", "the file is not UTF-8 text, or its name is invalid") from None
    if not text or "\n" in text:
        raise PydanticCustomError("secret_file", "the file must contain one line")
    return text


FILE_PREFIX = "file:"
"""The beginning of a secret that is in a file."""

Secret = Annotated[SecretStr, BeforeValidator(_read_secret_file)]
"""A setting that is a secret, given itself or as `file:PATH`."""


class Settings(BaseModel):
    """The settings of an operator. Each description is the sentence of docs/reference/settings.md."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def __init__(self, **given: object) -> None:
        """Take values that are not given from the environment."""
        super().__init__(**(_read_environment() | given))

    database_url: Secret = Field(
        SecretStr("sqlite:///budkavle.db"), description="The database: `sqlite:///PATH` or `postgresql://…`."
    )
    database_pool_size: int = Field(
        20, ge=1, le=1000, description="PostgreSQL: connections of one process for short work."
    )
    database_long_pool_size: int = Field(
        10, ge=1, le=1000, description="PostgreSQL: connections of one process for syncs, catalogues and exports."
    )
    database_connect_timeout: float = Field(
        5, gt=0, le=600, description="PostgreSQL: seconds for one attempt to connect to one host."
    )
    database_pool_timeout: float = Field(
        10, gt=0, le=600, description="PostgreSQL: seconds to wait for a usable connection, also while it restarts."
    )
    database_statement_timeout: float = Field(
        15, gt=0, le=3600, description="PostgreSQL: seconds for one statement of short work."
    )
    database_long_statement_timeout: float = Field(
        120, gt=0, le=86_400, description="PostgreSQL: seconds for one statement of syncs, catalogues and exports."
    )
    database_lock_timeout: float = Field(
        10, gt=0, le=3600, description="PostgreSQL: seconds that a statement waits for a lock of another transaction."
    )
    host: str = Field("127.0.0.1", description="The address that the service listens on.")
    port: int = Field(8080, ge=0, le=65535, description="The port that the service listens on; 0 selects a free port.")
    tls_cert: FilePath | None = Field(
        None, description="A PEM file with the service's certificate and chain; enables TLS."
    )
    tls_key: FilePath | None = Field(
        None, description="A PEM file with the private key of that certificate, without a password."
    )
    client_ca: FilePath | None = Field(None, description="A PEM file with the CA of client certificates.")
    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(parse_networks)] = Field(
        (),
        description="Proxies whose headers about callers (`Client-Cert`, `X-Forwarded-For`, `Forwarded`, tokens of"
        " gateways) are trusted: addresses and networks, separated by commas.",
    )
    issuers: FilePath | None = Field(
        None, description="A YAML file with the issuers of access tokens. Without it no tokens are accepted."
    )
    compatibility_apis: Annotated[tuple[str, ...], BeforeValidator(parse_apis)] = Field(
        (),
        description="Contracts of replaced services that are served too, separated by commas: `web-messages-3.2`,"
        " `oep-integrator-1.5`.",
    )
    municipalities: Annotated[tuple[str, ...], BeforeValidator(parse_municipalities)] = Field(
        (),
        description="The municipalities that the compatibility APIs serve, separated by commas; empty: all.",
    )
    open_e_external_url: AnyHttpUrl | None = Field(
        None, description="The callback of the citizens' Open-E, `https://host/api/callback`."
    )
    open_e_external_username: str = Field("", description="The account for the citizens' Open-E.")
    open_e_external_password: Secret = Field(SecretStr(""), description="Its password.")
    open_e_internal_url: AnyHttpUrl | None = Field(
        None, description="The callback of the staff's Open-E, `https://host/api/callback`."
    )
    open_e_internal_username: str = Field("", description="The account for the staff's Open-E.")
    open_e_internal_password: Secret = Field(SecretStr(""), description="Its password.")
    open_e_ca: FilePath | None = Field(None, description="A PEM file with the CA of both, if it is not a public one.")
    open_e_municipalities: FilePath | None = Field(
        None, description="A YAML file with the Open-E of each municipality that has its own."
    )
    open_e_connect_timeout: float = Field(5, gt=0, le=600, description="Seconds to connect to Open-E.")
    open_e_read_timeout: float = Field(
        30, gt=0, le=3600, description="Seconds to wait for its response; a call ends after the sum of both."
    )
    open_e_threads: int = Field(64, ge=1, le=1000, description="Maximum concurrent calls to Open-E.")
    open_e_queue_timeout: float = Field(
        10, gt=0, le=600, description="Seconds that a message waits for one of these calls."
    )
    open_e_pause_after: int = Field(
        5,
        ge=1,
        le=100_000,
        description="Calls in a row without an answer after which calls to an Open-E are refused (circuit breaker).",
    )
    open_e_pause_seconds: float = Field(
        5, gt=0, le=3600, description="Seconds until one call checks whether such an Open-E answers again."
    )
    open_e_time_zone: Annotated[str, AfterValidator(check_time_zone)] = Field(
        "Europe/Stockholm", description="The time zone of Open-E, in which it may show the times of messages."
    )
    party_url: AnyHttpUrl | None = Field(
        None,
        description="The party service that finds the legal id of a sender with a `partyId` in `oep-integrator-1.5`.",
    )
    party_ca: FilePath | None = Field(
        None, description="A PEM file with the CA of the party service, if it is not a public one."
    )
    party_timeout: float = Field(10, gt=0, le=600, description="Maximum seconds of a look-up in the party service.")
    settle_interval: float = Field(
        2,
        gt=0,
        le=86_400,
        description="Seconds between two searches for messages in doubt.",
    )
    settle_margin: float = Field(
        20,
        ge=0,
        le=3600,
        description="Seconds added to the longest call before an absent message counts as not published.",
    )
    settle_lease: float = Field(
        10,
        ge=3,
        le=10,
        description="Seconds until other processes take over a case with messages in doubt.",
    )
    record_timeout: float = Field(
        10,
        gt=0,
        le=600,
        description="Seconds that a caller, or a shutdown, waits for the database to record Open-E's response.",
    )
    idempotency_days: float = Field(
        7, gt=0, le=3650, description="Days that the `Idempotency-Key` of a message is kept."
    )
    worker_host: str = Field("127.0.0.1", description="The address on which a worker serves its health and metrics.")
    worker_port: int = Field(
        8082,
        ge=0,
        le=65535,
        description="The port on which a worker serves its health and metrics; 0 selects a free port.",
    )
    operations_host: str = Field(
        "127.0.0.1", description="The address on which `budkavle operations` serves the operations page."
    )
    operations_port: int = Field(
        8084,
        ge=0,
        le=65535,
        description="The port on which `budkavle operations` serves the operations page; 0 selects a free port.",
    )
    operations_changes: bool = Field(
        False, description="Whether operators may replay, pause, resume and settle on the operations page."
    )
    operations_certificates: Annotated[tuple[str, ...], BeforeValidator(parse_certificates)] = Field(
        (),
        description="Operators who may use that page with a client certificate: `NAME=SHA-256`, separated by commas.",
    )
    worker_concurrency: int = Field(200, ge=1, le=10_000, description="Maximum concurrent deliveries of a worker.")
    receiver_concurrency: int = Field(100, ge=1, le=10_000, description="Maximum concurrent deliveries to one system.")
    delivery_connect_timeout: float = Field(5, gt=0, le=600, description="Seconds to connect to a receiver.")
    delivery_timeout: float = Field(15, gt=0, le=600, description="Maximum seconds of one attempt.")
    delivery_lease: float = Field(
        30, gt=0, le=3600, description="Seconds until other workers take over the deliveries of a dead worker."
    )
    event_retention_hours: float = Field(
        24,
        gt=0,
        le=87_600,
        description="Deduplication window for event ids, in hours.",
    )
    receipt_days: float = Field(
        90, gt=0, le=3650, description="Days that the receipt of a delivery is kept after the receiver accepted it."
    )
    stored_external_days: float = Field(
        0,
        ge=0,
        le=36_500,
        description=f"Days that a message without a case is kept whose `oepInstance` is `external`{_FOR_EVER}",
    )
    stored_internal_days: float = Field(0, ge=0, le=36_500, description=f"The same for `internal`{_FOR_EVER}")
    published_external_days: float = Field(
        0, ge=0, le=36_500, description=f"Days that a message on a case of the citizens' Open-E is kept{_FOR_EVER}"
    )
    published_internal_days: float = Field(
        0, ge=0, le=36_500, description=f"Days that a message on a case of the staff's Open-E is kept{_FOR_EVER}"
    )
    parked_days: float = Field(
        0, ge=0, le=36_500, description=f"Days that a parked delivery is kept after its last attempt{_FOR_EVER}"
    )
    receipt_seal_minutes: float = Field(
        60, gt=0, le=10_080, description="Minutes after which a worker seals new receipts in the audit."
    )
    audit_days: float = Field(
        0,
        ge=0,
        le=36_500,
        description="Days that entries of the audit are kept; 0: until `budkavle audit prune`. Needs"
        " `BUDKAVLE_AUDIT_SEAL_KEY`.",
    )
    audit_key: Annotated[tuple[str, ...], BeforeValidator(parse_references)] = Field(
        (),
        description="Secrets that sign entries of the audit, newest first: `env:NAME` or `file:PATH`, separated by"
        " commas. The first one signs.",
    )
    audit_seal_key: FilePath | None = Field(
        None, description="A PEM file with the Ed25519 private key, without a password, that signs seals of the audit."
    )
    audit_seal_file: Path | None = Field(None, description="The file that seals of the audit are appended to.")
    audit_seal_hours: float = Field(
        0, ge=0, le=8760, description="Hours after which a worker seals the audit again; 0: only `budkavle audit seal`."
    )
    audit_read_minutes: float = Field(
        0,
        ge=0,
        le=1440,
        description="Minutes for which reads of web messages are counted before the audit records them; 0: never.",
    )
    operator_webhook_url: AnyHttpUrl | None = Field(
        None, description="The address that gets the events for operators, such as failing systems, from workers."
    )
    operator_webhook_secret: Annotated[str, AfterValidator(check_reference)] = Field(
        "",
        description="The secret that signs them: `env:NAME` or `file:PATH`, as in the catalogue.",
    )
    operator_webhook_ca: FilePath | None = Field(
        None, description="A PEM file with the CA of that address, if it is not a public one."
    )
    operator_webhook_private_addresses: bool = Field(
        False, description="Whether that address may be in a private network, or on this machine."
    )
    operator_webhook_failing_minutes: float = Field(
        15, gt=0, le=10_080, description="Minutes that a system must have been failing before an event reports it."
    )
    drain_seconds: float = Field(
        0,
        ge=0,
        le=3600,
        description="Seconds after SIGTERM in which readiness is `DOWN` and requests are still accepted.",
    )
    head_timeout: float = Field(
        30, gt=0, le=3600, description="Seconds from the first byte of a request to the end of its headers."
    )
    body_timeout: float = Field(30, gt=0, le=3600, description="Maximum seconds between two bytes of a request body.")
    idle_timeout: float = Field(
        65, gt=0, le=3600, description="Maximum seconds that a connection stays open without a request."
    )
    reader_timeout: float = Field(
        30, gt=0, le=3600, description="Maximum seconds in which a client reads nothing of its response."
    )
    body_bytes: int = Field(
        402_653_184,
        ge=LARGEST_BODY,
        description="Maximum bytes of concurrent large request bodies; others wait.",
    )
    body_queue_timeout: float = Field(
        10, gt=0, le=600, description="Seconds that a large body waits for others; then its request gets 503."
    )
    max_connections: int = Field(
        4096,
        ge=16,
        le=1_000_000,
        description="Maximum concurrent connections; fewer if the limit of file descriptors is lower.",
    )
    failed_authentications: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="Failed authentications per source and second that get 401; further ones get 429.",
    )
    shutdown_timeout: int = Field(
        60, ge=0, le=3600, description="Seconds that running requests and deliveries get at shutdown."
    )
    link_operations: bool = Field(
        True,
        description="Whether the layers of an operation call one another directly. `False` is slower, and only for"
        " finding faults.",
    )
    log_format: Literal["json", "console"] = Field("json", description="`json`, one line per entry, or `console`.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The lowest level to log.")

    @field_validator("delivery_lease")
    @classmethod
    def _lease_outlives_attempt(cls, lease: float, info: ValidationInfo) -> float:
        # Otherwise a second worker would start deliveries that the first one is still sending. The other setting is
        # absent if it is invalid.
        timeout = info.data.get("delivery_timeout", 0)
        if lease <= timeout:
            message = "must be more than BUDKAVLE_DELIVERY_TIMEOUT, which is {timeout}"
            raise PydanticCustomError("lease", message, {"timeout": f"{timeout:g}"})
        return lease

    def build_operations_certificates(self) -> dict[str, str]:
        """Return the names of operators by the fingerprint of their client certificate."""
        pairs = (entry.rpartition("=") for entry in self.operations_certificates)
        return {fingerprint: name for name, _, fingerprint in pairs}

    def build_waits(self) -> Waits:
        """Return the timeouts for PostgreSQL."""
        return Waits(
            pool_size=self.database_pool_size,
            long_pool_size=self.database_long_pool_size,
            connect_timeout=self.database_connect_timeout,
            pool_timeout=self.database_pool_timeout,
            statement_timeout=self.database_statement_timeout,
            long_statement_timeout=self.database_long_statement_timeout,
            lock_timeout=self.database_lock_timeout,
        )

    def build_connection_limits(self) -> ConnectionLimits:
        """Return the limits of one server."""
        return ConnectionLimits(
            head_seconds=self.head_timeout,
            body_seconds=self.body_timeout,
            idle_seconds=self.idle_timeout,
            reader_seconds=self.reader_timeout,
            connections=self.max_connections,
        )

    def build_call_times(self) -> CallTimes:
        """Return the times after which the outcome of a call to Open-E is certain."""
        timeout = timedelta(seconds=self.open_e_connect_timeout + self.open_e_read_timeout)
        return CallTimes(timeout, timedelta(seconds=self.settle_margin))

    def build_settling_rules(self) -> SettlingRules:
        """Return the rules by which messages in doubt are settled."""
        interval = timedelta(seconds=self.settle_interval)
        return SettlingRules(self.build_call_times(), ZoneInfo(self.open_e_time_zone), interval)

    def build_retention_rules(self) -> list[RetentionRule]:
        """Return the rules by which data is removed, in the order in which a run applies them."""
        days = {
            (MessageState.STORED, OepInstance.EXTERNAL): self.stored_external_days,
            (MessageState.STORED, OepInstance.INTERNAL): self.stored_internal_days,
            (MessageState.PUBLISHED, OepInstance.EXTERNAL): self.published_external_days,
            (MessageState.PUBLISHED, OepInstance.INTERNAL): self.published_internal_days,
        }
        rules = [
            RetentionRule(DataKind.MESSAGES, timedelta(days=number), state, instance)
            for (state, instance), number in days.items()
        ]
        rules += [
            RetentionRule(DataKind.PARKED_DELIVERIES, timedelta(days=self.parked_days)),
            RetentionRule(DataKind.EVENTS, timedelta(hours=self.event_retention_hours)),
            RetentionRule(DataKind.RECEIPTS, timedelta(days=self.receipt_days)),
            RetentionRule(DataKind.IDEMPOTENCY_KEYS, timedelta(days=self.idempotency_days)),
            RetentionRule(DataKind.AUDIT_ENTRIES, timedelta(days=self.audit_days)),
        ]
        return [rule for rule in rules if rule.period]

    def build_accounts(self) -> dict[OepInstance, Account]:
        """Return the Open-E instances with a URL."""
        given = {
            OepInstance.EXTERNAL: (
                self.open_e_external_url,
                self.open_e_external_username,
                self.open_e_external_password,
            ),
            OepInstance.INTERNAL: (
                self.open_e_internal_url,
                self.open_e_internal_username,
                self.open_e_internal_password,
            ),
        }
        return {
            instance: Account(
                str(url), username, password.get_secret_value(), str(self.open_e_ca) if self.open_e_ca else None
            )
            for instance, (url, username, password) in given.items()
            if url is not None
        }


def _read_environment() -> dict[str, object]:
    """Return the values of variables that are not empty, by the name of the setting. Variables may be in lower case."""
    named = ((variable.upper(), value) for variable, value in os.environ.items() if value)
    found = {name.removeprefix(PREFIX).lower(): value for name, value in named if name.startswith(PREFIX)}
    return {name: value for name, value in found.items() if name in Settings.model_fields}


def read_settings(**overrides: object) -> Settings:
    """Return the settings of this process. `overrides` that are not None take precedence over the environment.

    Raises `SettingsUnusable` with all faults in one line, without values, which may be secret.
    """
    try:
        return _build(_drop_none(overrides))
    except ValidationError as exc:
        faults = "; ".join(f"{PREFIX}{name.upper()}: {fault}" for name, fault in _list_faults(exc).items())
        raise SettingsUnusable(f"unusable settings: {faults}") from None


def read_usable_settings(**overrides: object) -> tuple[Settings, dict[str, str]]:
    """Return settings with substitutes for unusable values, and the faults of these by the name of the setting."""
    given = _drop_none(overrides)
    faults: dict[str, str] = {}
    while True:
        substitutes = {name: _SUBSTITUTES.get(name, Settings.model_fields[name].default) for name in faults}
        try:
            return _build(given | substitutes), faults
        except ValidationError as exc:
            # A fault can appear only after that of another setting, and each appears once.
            faults = _list_faults(exc) | faults


_SUBSTITUTES = {"delivery_lease": 3600}
"""Values for settings whose default may be unusable in combination with others."""


def _drop_none(overrides: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in overrides.items() if value is not None}


def _build(given: Mapping[str, object]) -> Settings:
    return Settings(**given)


def _list_faults(error: ValidationError) -> dict[str, str]:
    """Return the faults by the name of the setting, without values."""
    faults = error.errors(include_input=False, include_url=False)
    return {str(fault["loc"][0]): FAULT_TEXTS.get(fault["type"], fault["msg"]) for fault in faults}
