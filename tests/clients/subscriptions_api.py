"""Create clients of the subscriptions of a running service, for a system and for a publisher."""

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any
from uuid import UUID, uuid4

from conftest import PUBLISH_KEY, RunningService
from tests.catalogue_rows import ALLOWED, NOW, ORG_TYPE, put_parked_message, put_receipt, put_system
from tests.clients.generating import Generated
from tests.handlers.callers import Certificate, create_certificate

SYNC, CURRENT, ALLOWED_TYPES = "syncWebhookAbonnementer", "hentAbonnementer", "hentTilladteBeskedtyper"
PUBLISH, WAITING, REPLAY, TEST = "opretBesked", "hentBeskeder", "genfremsendBeskeder", "sendTestbesked"
RECEIPTS, STATUS = "hentKvitteringer", "hentBeskedstatus"
OF_A_SYSTEM = (SYNC, CURRENT, WAITING, RECEIPTS, REPLAY, TEST)
OF_A_PUBLISHER = (PUBLISH, STATUS)
IDENTITY = {"org_type": ORG_TYPE, "org_code": 101, "entity_type": ALLOWED}


@dataclass
class SubscriptionsApi:
    generated: Generated
    running: RunningService
    broken: RunningService

    @property
    def models(self) -> Any:
        return self.generated.models

    @cached_property
    def certificate(self) -> Certificate:
        return create_certificate()

    @cached_property
    def system_id(self) -> UUID:
        """Return a system that the certificate may access."""
        system_id = uuid4()
        put_system(self._database_url, str(system_id), self.certificate.fingerprint)
        return system_id

    @property
    def _database_url(self) -> str:
        return self.running.settings.database_url.get_secret_value()

    def system(self, url: str | None = None, **arguments: Any) -> Any:
        """Return a client with the certificate, as a proxy of the operator would forward it."""
        return self.generated.caller(url or self.running.url, self.certificate.header, "Client-Cert", **arguments)

    def publisher(self, token: str = PUBLISH_KEY, url: str | None = None, **arguments: Any) -> Any:
        return self.generated.caller(url or self.running.url, token, **arguments)

    def caller(self, operation_id: str, **arguments: Any) -> Any:
        """Return a client that is authorised for this operation."""
        return self.publisher(**arguments) if operation_id in OF_A_PUBLISHER else self.system(**arguments)

    def arguments(self, operation_id: str) -> dict[str, Any]:
        arguments: dict[str, dict[str, Any]] = {
            SYNC: {"body": self.set_of(self.subscription())},
            ALLOWED_TYPES: {"org_type": ORG_TYPE},
            PUBLISH: {"body": self.event()},
            STATUS: {"besked_id": uuid4()},
            REPLAY: {"body": self.models.Replay(self.system_id, [uuid4()])},
            TEST: {"body": self.models.TestMessage(self.system_id, **IDENTITY)},
        }
        good = arguments.get(operation_id, {"system_identifier": self.system_id})
        return {"client": self.caller(operation_id), **good}

    def subscription(self, **changes: Any) -> Any:
        values = {**IDENTITY, "webhook_url": "/webhook", "start_dato": "2023-01-01T00:00:00", **changes}
        return self.models.Subscription(**values)

    def set_of(self, *subscriptions: Any) -> Any:
        return self.models.SyncRequest(system_identifier=self.system_id, abonnementer=list(subscriptions))

    def event(self, **changes: Any) -> Any:
        return self.models.Event(**{**IDENTITY, "aendringstype": self.models.EventAendringstype.VALUE_2, **changes})

    def sync(self, *subscriptions: Any) -> None:
        result = self.generated.operation(SYNC).sync(client=self.system(), body=self.set_of(*subscriptions))
        assert isinstance(result, self.models.SyncResult)

    def park(self, org_code: int) -> UUID:
        """Store a parked delivery and return its id."""
        delivery_id = uuid4()
        identity = (ORG_TYPE, org_code, ALLOWED)
        put_parked_message(self._database_url, str(self.system_id), identity, str(delivery_id))
        return delivery_id

    def deliver(self, org_code: int) -> UUID:
        """Store the receipt of a delivery and return its id. Later ones have a greater orgCode."""
        delivery_id = uuid4()
        time = NOW + timedelta(seconds=org_code)
        identity = (ORG_TYPE, org_code, ALLOWED)
        put_receipt(self._database_url, str(self.system_id), identity, str(delivery_id), time)
        return delivery_id

    def waiting(self) -> Any:
        """Return the waiting deliveries of the system."""
        return self.generated.operation(WAITING).sync(client=self.system(), system_identifier=self.system_id).beskeder
