"""Requests to a receiver: deliveries as the worker writes them, and forged ones."""

import hmac
import random
import uuid
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256

from delivery.payload import write_payload
from domain.deliveries import ClaimedDelivery, Receiver
from domain.events import Event, write_content

OTHER_SECRET = "whsec_" + b64encode(sha256(b"another secret").digest()).decode()
"""A secret that the receiver does not have."""


@dataclass(frozen=True)
class SignatureForm:
    """A value in the header `webhook-signature`: how to derive it from the valid signature, here and in a shell.

    `shell` contains `SIGN`, the command that prints the signature. `uses_other_secret` signs with `OTHER_SECRET`.
    """

    derive: Callable[[str], str]
    shell: str
    uses_other_secret: bool = False


VALID = SignatureForm("v1,{}".format, "v1,$(SIGN)")
OTHER_SECRET_FORM = SignatureForm("v1,{}".format, "v1,$(SIGN)", uses_other_secret=True)
OTHER_VERSION = SignatureForm("v1a,{}".format, "v1a,$(SIGN)", uses_other_secret=True)
FORGED_FORMS: Mapping[str, SignatureForm] = {
    "of another secret": OTHER_SECRET_FORM,
    "that differs in the last characters only": SignatureForm(
        lambda text: f"v1,{text[:-4]}{'AAA=' if text[-4:] != 'AAA=' else 'AAE='}", "v1,$(SIGN | sed 's/....$/AAA=/')"
    ),
    "that is only the beginning of the right one": SignatureForm(
        lambda text: f"v1,{text[:16]}", "v1,$(SIGN | cut -c1-16)"
    ),
    "with upper and lower case swapped": SignatureForm(
        lambda text: f"v1,{text.swapcase()}", "v1,$(SIGN | tr A-Za-z a-zA-Z)"
    ),
    "in hexadecimal": SignatureForm(
        lambda text: f"v1,{b64decode(text).hex()}", "v1,$(SIGN | openssl base64 -d -A | od -An -vtx1 | tr -d ' \\n')"
    ),
    "of another version": SignatureForm("v2,{}".format, "v2,$(SIGN)"),
    "that is empty": SignatureForm(lambda _: "v1,", "v1,"),
    "without a comma": SignatureForm(lambda _: "v1", "v1"),
    "that is no base64": SignatureForm(lambda _: "v1,?!", "v1,?!"),
    "that is not ASCII": SignatureForm(lambda _: "v1,æøå", "v1,æøå"),
}
"""Forged signatures by description."""


@dataclass(frozen=True)
class Delivery:
    """A request. By default it is a valid delivery; the other fields are changes to it."""

    id: str
    body: bytes
    forms: tuple[SignatureForm, ...] = (VALID,)
    offset: int = 0
    """Seconds between now and the timestamp."""
    timestamp: str | None = None
    """The text of the timestamp, instead of the present time."""
    without: frozenset[str] = frozenset()
    """The headers that are not sent."""
    headers: Mapping[str, str] = field(default_factory=dict)
    sent_id: str | None = None
    """The id that is sent, if another one is signed."""
    sent_body: bytes | None = None
    """The body that is sent, if another one is signed."""
    shift: int = 0
    """Seconds between the signed and the sent timestamp."""
    method: str = "POST"
    """Other methods than POST have no body and no headers."""
    pieces: int = 1
    """The number of pieces in which the body is sent slowly."""

    def build_headers(self, key: bytes | None, now: datetime) -> dict[str, str]:
        """Return the headers of the request. Without a key there is no signature."""
        if self.method != "POST":
            return {}
        seconds = int(now.timestamp()) + self.offset
        timestamp = str(seconds) if self.timestamp is None else self.timestamp
        sent = str(seconds + self.shift) if self.shift else timestamp
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Budkavle",
            "Accept-Encoding": "identity",
            "webhook-id": self.sent_id or self.id,
            "webhook-timestamp": sent,
        }
        if key is not None:
            signed = b"%b.%b.%b" % (self.id.encode(), timestamp.encode(), self.body)
            headers["webhook-signature"] = " ".join(form.derive(_sign(form, key, signed)) for form in self.forms)
        return {name: value for name, value in (headers | dict(self.headers)).items() if name not in self.without}


def _sign(form: SignatureForm, key: bytes, signed: bytes) -> str:
    used = b64decode(OTHER_SECRET.removeprefix("whsec_")) if form.uses_other_secret else key
    return b64encode(hmac.digest(used, signed, "sha256")).decode()


class DeliveryFactory:
    """Creates deliveries with new ids for one subscription. All other data depend on the seed only."""

    def __init__(self, org_type: int, org_code: int, entity_type: int, seed: str) -> None:
        self._identity = {"org_type": org_type, "org_code": org_code, "entity_type": entity_type}
        self.random = random.Random(seed)

    def create_event(self, **changes: object) -> Event:
        """Return an event with the required properties, and these."""
        values = {"id": str(uuid.uuid4()), "change": 1, "created": datetime.now(UTC), **self._identity}
        return Event(**(values | changes))  # type: ignore[arg-type]  # The values have the types of their fields.

    def write(self, event: Event, *, entity_name: str | None = "Receiver check") -> bytes:
        """Return the body of a delivery, as the worker writes it."""
        claimed = ClaimedDelivery(
            0, "", Receiver("", ""), "", event.id, entity_name, event.created, write_content(event), 0
        )
        return write_payload(claimed)

    def create(self, **changes: object) -> Delivery:
        """Return a valid delivery of an event with these properties."""
        return self.wrap(self.write(self.create_event(**changes)))

    def wrap(self, body: bytes) -> Delivery:
        """Return a valid delivery with this body."""
        return Delivery(str(uuid.uuid4()), body)
