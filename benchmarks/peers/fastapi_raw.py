"""A peer: web messages in FastAPI on the database's own driver, with responses encoded by orjson."""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import orjson
from fastapi import Depends, FastAPI, HTTPException, Response, Security
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, ConfigDict, Field
from raw_store import open_store

API_KEY = os.environ["API_KEY"]


class Reference(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: str = Field(min_length=3, max_length=128)
    value: str = Field(min_length=1, max_length=128)


class CreateWebMessageRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    partyId: uuid.UUID  # noqa: N815  # The name of the contract.
    message: str = Field(min_length=1)
    externalReferences: list[Reference] = Field(min_length=1)  # noqa: N815


async def check_key(key: Annotated[str | None, Security(APIKeyHeader(name="apikey", auto_error=False))]) -> None:
    if key != API_KEY:
        raise HTTPException(401)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.store = await open_store()
    yield


app = FastAPI(dependencies=[Depends(check_key)], lifespan=lifespan)


@app.post("/webmessages", status_code=201)
async def create_web_message(body: CreateWebMessageRequest) -> Response:
    id_ = await app.state.store.create(body.partyId, body.message, body.externalReferences)
    return Response(status_code=201, headers={"Location": f"/webmessages/{id_}"})


@app.get("/webmessages/{id_}")
async def get_web_message(id_: uuid.UUID) -> Response:
    message = await app.state.store.get(id_)
    if message is None:
        raise HTTPException(404)
    return json_response(message)


@app.get("/webmessages/recipients/{party_id}")
async def list_web_messages(party_id: uuid.UUID) -> Response:
    return json_response(await app.state.store.list(party_id))


def json_response(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
