"""A peer: web messages in Litestar on the database's own driver, decoded and encoded by msgspec."""

import os
import uuid
from typing import Annotated, Any

from litestar import Litestar, Response, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import NotAuthorizedException, NotFoundException
from litestar.handlers import BaseRouteHandler
from msgspec import Meta, Struct
from raw_store import open_store

API_KEY = os.environ["API_KEY"]


class Reference(Struct, forbid_unknown_fields=True):
    key: Annotated[str, Meta(min_length=3, max_length=128)]
    value: Annotated[str, Meta(min_length=1, max_length=128)]


class CreateWebMessageRequest(Struct, forbid_unknown_fields=True):
    partyId: uuid.UUID  # noqa: N815  # The name of the contract.
    message: Annotated[str, Meta(min_length=1)]
    externalReferences: Annotated[list[Reference], Meta(min_length=1)]  # noqa: N815


def check_key(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    if connection.headers.get("apikey") != API_KEY:
        raise NotAuthorizedException


async def open_database(app: Litestar) -> None:
    app.state.store = await open_store()


@post("/webmessages")
async def create_web_message(data: CreateWebMessageRequest, state: State) -> Response[bytes]:
    id_ = await state.store.create(data.partyId, data.message, data.externalReferences)
    return Response(b"", status_code=201, headers={"Location": f"/webmessages/{id_}"})


@get("/webmessages/{id_:uuid}")
async def get_web_message(id_: uuid.UUID, state: State) -> dict[str, Any]:
    message = await state.store.get(id_)
    if message is None:
        raise NotFoundException
    return message


@get("/webmessages/recipients/{party_id:uuid}")
async def list_web_messages(party_id: uuid.UUID, state: State) -> list[dict[str, Any]]:
    return await state.store.list(party_id)


app = Litestar(
    [create_web_message, get_web_message, list_web_messages],
    guards=[check_key],
    on_startup=[open_database],
    openapi_config=None,
    logging_config=None,
)
