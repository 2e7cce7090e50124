"""The web messages of `budkavle dev`: the rows in the examples of the contracts, and commands to paste."""

import contextlib
import hashlib
from dataclasses import replace
from datetime import UTC, datetime

from budkavle.demo.issuer import build_token_command
from budkavle.demo.subscriptions import CLIENT_CERT, build_subscription_commands, check_command
from domain.api_keys import ApiKey, hash_key
from domain.errors import NotFound
from domain.web_messages import Attachment, ExternalReference, WebMessage
from openapi.docs import Demo
from persistence import web_messages as stored
from persistence.database import Database

KEY = "demo"
"""The key of `budkavle dev`, which listens on loopback only. No database has it, so other processes reject it."""

_CREATED = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
_FILE = b"Hello\n"

_FETCHED = WebMessage(
    id="81471222-5798-11e9-ae24-57fa13b361e1",
    party_id="81471222-5798-11e9-ae24-57fa13b361e1",
    message="This is a message",
    external_references=(ExternalReference("flowInstanceId", "1068"),),
    sender_user_id="joe01doe",
    attachments=(
        Attachment(
            id="a2a1b9f0-5798-11e9-ae24-57fa13b361e1",
            file_name="hello.txt",
            mime_type="text/plain",
            size=len(_FILE),
            sha256=hashlib.sha256(_FILE).hexdigest(),
            data=_FILE,
        ),
    ),
    created=_CREATED,
    # The one in the examples of the compatibility APIs. The other contracts have none.
    municipality_id="2281",
)
_DELETED = replace(_FETCHED, id="0b1f4c1e-5798-11e9-ae24-57fa13b361e1", attachments=())


def get_demo_key() -> ApiKey:
    """Return the key `demo` with all scopes."""
    return ApiKey(
        key_hash=hash_key(KEY.encode()), name=KEY, scopes=("messages", "publish", "operations"), created=_CREATED
    )


async def put_demo_rows(database: Database) -> None:
    """Restore the messages of the examples to their initial state."""
    for message in (_FETCHED, _DELETED):
        with contextlib.suppress(NotFound):
            await stored.delete(database, message.id)
        await stored.store(database, message)


def describe_demo(mock: str, receiver: str, operations: str) -> Demo:
    """Return what the API pages offer: the credentials of the demo, and its other pages."""
    credentials = {"ApiKeyAuth": KEY, "PublishKeyAuth": KEY, "ClientCertificate": CLIENT_CERT}
    links = [
        ("Messages on cases, in the inbox of the mock Open-E", f"{mock}/"),
        ("Received events", f"{receiver}/"),
        (f"Queues and deliveries, for operators (key: {KEY})", f"{operations}/operations"),
    ]
    return Demo(credentials, links)


def build_commands(service: str, mock: str, receiver: str, operations: str, token_url: str) -> str:
    """Return the commands to paste, one per line, and the pages to open."""
    message = '{"message": "This is a message", "externalReferences": [{"key": "flowInstanceId", "value": "1068"}]}'
    return f"""Post a message to case 1068:
curl -sS -i -X POST {service}/webmessages -H 'apikey: {KEY}' -H 'Content-Type: application/json' -d '{message}'

Fetch the messages of that case:
curl -sS {service}/webmessages/external-references/flowInstanceId/1068 -H 'apikey: {KEY}'

{build_subscription_commands(service, KEY)}
Get an access token from the demo's issuer, and fetch the messages with it instead of the key:
{build_token_command(token_url, service)}

Check that it keeps the contract (about 20 seconds):
{check_command(service, KEY, token_url)}

API pages:          {service}/docs
Operations page:    {operations}/operations (key: {KEY})
Receiver of events: {receiver}/
Inbox of the mock:  {mock}/
Ctrl-C ends it.
"""
