"""Client for the operations of the contracts."""

import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote, urlencode
from uuid import UUID

import requests

from contract_tests import evidence
from contract_tests.links import next_page
from contract_tests.reading import read_whole
from contract_tests.target import CheckTarget, SubscriptionIdentity

Caller = Literal["sender", "publisher", "system", "token", "anonymous"]
"""The caller: the API key for messages, that for events, the client certificate, the token, or no credentials.

Without a key, senders and publishers use the token.
"""

JSON = "application/json"
FORM = "multipart/form-data; boundary=XX"
SYNC, EVENT, LIST = "/v1/abonnement/sync", "/v1/besked", "/v1/abonnement/beskeder"
RECEIPTS = "/v1/abonnement/kvitteringer"
REPLAY, TEST = f"{LIST}/genfremsend", "/v1/abonnement/testbesked"
TIMEOUT_SECONDS = 60
MAX_LEFT = 1000
"""Maximum messages left over from killed runs, or invented by a server."""
MAX_PAGES = 1000
"""Maximum pages of a list: a service with endless pages must not block a check."""

_CERTIFICATE_PATHS = ("/v1/",)
_PUBLISH_PATHS = ("/v1/besked",)


@dataclass(repr=False)
class Api:
    """The operations of a target. Each call is recorded, so that it can be reproduced and its results deleted."""

    target: CheckTarget
    random: random.Random
    """The source of all generated values, so that the same seed generates them again."""
    _session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self._session.trust_env = False

    def __repr__(self) -> str:
        return f"Api({self.target.url})"

    def close(self) -> None:
        self._session.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        content_type: str | None = JSON,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        caller: Caller | None = None,
    ) -> requests.Response:
        """Send a request and return the response. `body` is JSON or bytes; `caller` defaults to that of the path."""
        prepared = requests.Request(method, self.target.url + path, params=_query(query)).prepare()
        url = prepared.url or ""
        identity = _caller_of(path) if caller is None else caller
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        typed = {} if data is None or content_type is None else {"Content-Type": content_type}
        sent = {**typed, **self._identity(identity), **(headers or {})}
        by_tls = self.target.is_tls and self._needs_certificate(identity)
        evidence.record_request(evidence.SentRequest(method, url.removeprefix(self.target.url), sent, data, by_tls))
        response = self._session.request(
            method,
            url,
            data=data,
            headers=sent,
            allow_redirects=False,
            timeout=TIMEOUT_SECONDS,
            stream=True,
            verify=self.target.ca or True,
            cert=self.target.certificate.files if by_tls and self.target.certificate is not None else None,
        )
        if "Location" in response.headers:
            response.headers["Location"] = self.target.below(response.headers["Location"])
        evidence.record_response(response.status_code, response.headers.get("Location"))
        read_whole(response)
        return response

    def post_message(self, message: Any, **options: Any) -> requests.Response:
        return self.call("POST", "/webmessages", body=message, **options)

    def create_message(self, message: Mapping[str, Any]) -> str:
        """Create a message, which must succeed, and return its id."""
        return created_id(self.post_message(message))

    def get_message(self, id_: str, **options: Any) -> requests.Response:
        return self.call("GET", f"/webmessages/{id_}", **options)

    def list_messages(self, key: str, value: str, **options: Any) -> requests.Response:
        path = f"/webmessages/external-references/{quote(key, safe='')}/{quote(value, safe='')}"
        return self.call("GET", path, **options)

    def read_message(self, id_: str) -> dict[str, Any]:
        """Return a message, which must exist."""
        response = self.get_message(id_)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def read_messages(self, key: str, value: str) -> list[dict[str, Any]]:
        """Return the messages with a reference, which must fit on one page."""
        response = self.list_messages(key, value)
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json()
        return found

    def read_pages(self, path: str, **options: Any) -> Iterator[requests.Response]:
        """Yield the pages of a list by following the `Link` headers."""
        seen: set[str] = set()
        while path := self.target.below(path):
            assert path not in seen, f"the pages form a loop: {path} is linked a second time"
            assert len(seen) < MAX_PAGES, f"the list has more than {MAX_PAGES} pages"
            seen.add(path)
            response = self.call("GET", path, **options)
            assert response.status_code == 200, (
                f"GET {path} must return 200, but the response is {response.status_code}: {response.text}"
            )
            yield response
            path = next_page(response) or ""

    def sync(self, entries: Any, *, system: str | None = None, **options: Any) -> requests.Response:
        """Send a complete set of subscriptions and return the response."""
        body = {"systemIdentifier": system or self.target.system, "abonnementer": entries}
        return self.call("POST", SYNC, body=body, **options)

    def subscribe(self, *entries: Any, **options: Any) -> dict[str, int]:
        """Send a complete set of subscriptions, which must be accepted, and return its counts."""
        response = self.sync(list(entries), **options)
        assert response.status_code == 200, (
            f"a valid set must be accepted, but the response is {response.status_code}: {response.text}"
        )
        done: dict[str, int] = response.json()
        return done

    def publish(self, event: Any, **options: Any) -> requests.Response:
        return self.call("POST", EVENT, body=event, **options)

    def event_status(self, event_id: str, **options: Any) -> requests.Response:
        return self.call("GET", f"{EVENT}/{event_id}", **options)

    def deliveries(self, system: str | None = None, **query: Any) -> list[dict[str, Any]]:
        """Return the waiting and parked deliveries of the system, from all pages."""
        query = {"systemIdentifier": system or self.target.system, **query}
        found: list[dict[str, Any]] = []
        for response in self.read_pages(f"{LIST}?{urlencode(query)}"):
            found += response.json()["beskeder"]
        return found

    def receipts(self, **query: Any) -> list[dict[str, Any]]:
        """Return the receipts of the system, from all pages."""
        query = {"systemIdentifier": self.target.system, **query}
        found: list[dict[str, Any]] = []
        for response in self.read_pages(f"{RECEIPTS}?{urlencode(query)}"):
            found += response.json()["kvitteringer"]
        return found

    def subscriptions(self, system: str | None = None) -> list[dict[str, Any]]:
        """Return the current set of the system."""
        query = {"systemIdentifier": system or self.target.system}
        response = self.call("GET", "/v1/abonnement", query=query)
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json()["abonnementer"]
        # Sort: the subscriptions are a set, and servers may return them in any order.
        return sorted(found, key=lambda entry: json.dumps(entry, sort_keys=True))

    def uuid(self) -> str:
        """Return a generated UUID of version 4."""
        return str(UUID(int=self.random.getrandbits(128), version=4))

    def reference(self, key: str = "contract-check") -> dict[str, str]:
        """Return a reference that no other message of this run has."""
        return {"key": key, "value": self.uuid()}

    def unused_uuid(self) -> str:
        """Return a UUID that no stored message has as its party or in its reference.

        A killed run may have left messages with the values that the same seed generates again.
        """
        for _ in range(MAX_LEFT):
            candidate = self.uuid()
            found = self.call("GET", f"/webmessages/recipients/{candidate}", query={"limit": 1})
            assert found.status_code == 200, (
                f"a list must return 200, but the response is {found.status_code}: {found.text[:500]}"
            )
            assert isinstance(found.json(), list), f"messages must be a list, but were {found.text[:500]}"
            if found.json() == self.read_messages("contract-check", candidate) == []:
                return candidate
        raise AssertionError(f"all {MAX_LEFT} generated parties have messages")

    def unused_reference(self) -> dict[str, str]:
        """Return a reference that no message has."""
        return {"key": "contract-check", "value": self.unused_uuid()}

    def message(self, **changes: Any) -> dict[str, Any]:
        """Return a valid message with changes. The value `...` removes a property."""
        values = {"message": "A contract check", "externalReferences": [self.reference()], **changes}
        return {name: value for name, value in values.items() if value is not ...}

    def entry(self, identity: SubscriptionIdentity | None = None, **changes: Any) -> dict[str, Any]:
        """Return a valid subscription with changes. The value `...` removes a property."""
        org_type, entity_type = self.target.allowed[0]
        identity_values = (
            identity or SubscriptionIdentity(org_type, self.random.randrange(1000, 99_999_999), entity_type)
        ).json()
        values = {**identity_values, "webhookUrl": "/webhook", "startDato": "2023-01-01T00:00:00", **changes}
        return {name: value for name, value in values.items() if value is not ...}

    def event(self, entry: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
        """Return a valid event for a subscription with changes. The value `...` removes a property."""
        identity_values = {name: entry[name] for name in ("entityType", "orgType", "orgCode")}
        values = {**identity_values, "aendringstype": 1, **changes}
        return {name: value for name, value in values.items() if value is not ...}

    def _identity(self, caller: Caller) -> dict[str, str]:
        target = self.target
        key = {"sender": target.api_key, "publisher": target.publish_key}.get(caller)
        if key is not None:
            return {"apikey": key}
        headers = {}
        if self._uses_token(caller):
            headers["Authorization"] = f"Bearer {target.token}"
        if self._needs_certificate(caller) and target.certificate is not None and not target.is_tls:
            headers["Client-Cert"] = target.certificate.header
        return headers

    def _uses_token(self, caller: Caller) -> bool:
        target = self.target
        has_key = {"sender": target.api_key, "publisher": target.publish_key}.get(caller) is not None
        return target.token_file is not None and caller in {"sender", "publisher", "token"} and not has_key

    def _needs_certificate(self, caller: Caller) -> bool:
        """Return whether a caller presents the certificate: a system, and the owner of a token that is bound to it."""
        return caller == "system" or (self._uses_token(caller) and self.target.has_bound_token)


def created_id(response: requests.Response) -> str:
    """Return the id in the response to a valid message, which must be 201."""
    status, location = response.status_code, response.headers.get("Location", "")
    assert status == 201, f"a valid message must get a 201, but got {status}: {response.text[:500]}"
    found = re.fullmatch("/webmessages/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", location)
    assert found is not None, f"the Location of a 201 is /webmessages/{{id}}, but was {location!r}"
    return found[1]


def _caller_of(path: str) -> Caller:
    if path.startswith(_PUBLISH_PATHS) and not path.startswith("/v1/beskedtype"):
        return "publisher"
    return "system" if path.startswith(_CERTIFICATE_PATHS) else "sender"


def _query(query: Mapping[str, Any] | None) -> Iterable[tuple[str, str]] | None:
    if query is None:
        return None
    return [(name, str(value).lower() if isinstance(value, bool) else str(value)) for name, value in query.items()]
