"""Callers of the subscriptions, each with its own system and certificate."""

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import httpx
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from conftest import RunningService
from tests.catalogue_rows import ALLOWED, ORG_TYPE, put_system
from tests.handlers.messages import create_id

DAY = timedelta(days=1)
FIELDS = {"orgtype", "orgcode", "entitytype", "errorCode", "message", "index", "field"}


@dataclass(frozen=True)
class Certificate:
    """A client certificate: the header of a trusted proxy, and the fingerprint in the catalogue."""

    header: str
    fingerprint: str


@cache
def _create_authority() -> trustme.CA:
    return trustme.CA()


def create_certificate(begins: timedelta = -DAY, ends: timedelta = DAY) -> Certificate:
    """Return a certificate that is valid from `begins` to `ends`, relative to now."""
    now = datetime.now(UTC)
    leaf = _create_authority().issue_cert("client@example.org", not_before=now + begins, not_after=now + ends)
    der = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).public_bytes(Encoding.DER)
    return Certificate(f":{base64.b64encode(der).decode()}:", hashlib.sha256(der).hexdigest())


@dataclass(frozen=True)
class Caller:
    """A caller with a certificate, and its system."""

    service: RunningService
    certificate: Certificate
    system_id: str

    @property
    def database_url(self) -> str:
        return self.service.settings.database_url.get_secret_value()

    def headers(self, **more: str) -> dict[str, str]:
        return {"client-cert": self.certificate.header, **{name.replace("_", "-"): text for name, text in more.items()}}

    def body(self, *entries: Any, **changes: Any) -> dict[str, Any]:
        return {"systemIdentifier": self.system_id, "abonnementer": list(entries)} | changes

    def send(self, body: Any, query: str = "", **headers: str) -> httpx.Response:
        """Return the response to a sync with this body."""
        return self.service.client.post(f"/v1/abonnement/sync{query}", json=body, headers=self.headers(**headers))

    def send_bytes(self, body: bytes, **headers: str) -> httpx.Response:
        return self.service.client.post("/v1/abonnement/sync", content=body, headers=self.headers(**headers))

    def sync(self, *entries: Any, query: str = "") -> tuple[int, ...]:
        """Return the created, updated, deleted, unchanged and dropped counts of a sync, which must be accepted."""
        response = self.send(self.body(*entries), query)
        assert response.status_code == 200, response.text
        value = response.json()
        return tuple(value[name] for name in ("oprettet", "opdateret", "slettet", "uaendret", "slettedeBeskeder"))

    def get(self, system_id: str | None = None, **headers: str) -> httpx.Response:
        query = {"systemIdentifier": system_id or self.system_id}
        return self.service.client.get("/v1/abonnement", params=query, headers=self.headers(**headers))

    def current(self) -> list[dict[str, Any]]:
        """Return the current entries of the system."""
        response = self.get()
        assert response.status_code == 200, response.text
        entries: list[dict[str, Any]] = response.json()["abonnementer"]
        return entries


def create_caller(service: RunningService) -> Caller:
    """Return a caller with a new certificate and a new system."""
    caller = Caller(service, create_certificate(), create_id())
    put_system(caller.database_url, caller.system_id, caller.certificate.fingerprint)
    return caller


def build_entry(**changes: Any) -> dict[str, Any]:
    """Return a valid entry; a change to `...` removes the property."""
    values = {
        "orgType": ORG_TYPE,
        "orgCode": 101,
        "entityType": ALLOWED,
        "webhookUrl": "/webhook",
        "startDato": "2023-01-01T00:00:00",
        "slutDato": "2999-12-31T23:59:59",
    }
    return {name: value for name, value in (values | changes).items() if value is not ...}


def read_errors(response: httpx.Response, status: int) -> list[dict[str, Any]]:
    """Return the errors of a response, after asserting the published shape and order."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    value = response.json()
    assert set(value) == {"errors"}
    found: list[dict[str, Any]] = value["errors"]
    assert found
    assert all(set(error) == FIELDS and error["message"] for error in found)
    assert found == sorted(found, key=_build_sort_key)
    return found


def list_places(response: httpx.Response) -> list[tuple[int | None, str | None, int]]:
    """Return index, field and number of each error of a 400."""
    return [(error["index"], error["field"], error["errorCode"]) for error in read_errors(response, 400)]


def _build_sort_key(error: dict[str, Any]) -> tuple[int, str, int]:
    index = -1 if error["index"] is None else error["index"]
    return (index, error["field"] or "", error["errorCode"])
