"""A peer: web messages in FastAPI with the SQLAlchemy ORM and plain `def`, as in its documentation."""

import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Response, Security
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import DateTime, ForeignKey, String, Text, create_engine, event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload, sessionmaker

API_KEY = os.environ["API_KEY"]

engine = create_engine(os.environ["DATABASE_URL"], pool_size=20, max_overflow=20)
SessionLocal = sessionmaker(engine)


if engine.dialect.name == "sqlite":

    @event.listens_for(engine, "connect")
    def set_pragmas(connection, _record):
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
            connection.execute(f"PRAGMA {pragma}")


class Base(DeclarativeBase):
    pass


class ExternalReference(Base):
    __tablename__ = "external_references"

    id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("web_messages.id", ondelete="CASCADE"), index=True)
    key: Mapped[str] = mapped_column(String(128), index=True)
    value: Mapped[str] = mapped_column(String(128), index=True)


class WebMessage(Base):
    __tablename__ = "web_messages"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    party_id: Mapped[uuid.UUID] = mapped_column(index=True)
    message: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC))
    external_references: Mapped[list[ExternalReference]] = relationship(cascade="all, delete-orphan")


class Reference(BaseModel):
    model_config = ConfigDict(from_attributes=True, extra="forbid")

    key: str = Field(min_length=3, max_length=128)
    value: str = Field(min_length=1, max_length=128)


class MessageIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    partyId: uuid.UUID  # noqa: N815  # The name of the contract.
    message: str = Field(min_length=1)
    externalReferences: list[Reference] = Field(min_length=1)  # noqa: N815


class MessageOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    partyId: uuid.UUID = Field(validation_alias="party_id")  # noqa: N815
    message: str
    externalReferences: list[Reference] = Field(validation_alias="external_references")  # noqa: N815
    created: datetime


def check_key(key: Annotated[str | None, Security(APIKeyHeader(name="apikey", auto_error=False))]) -> None:
    if key != API_KEY:
        raise HTTPException(401)


def get_session() -> Iterator[Session]:
    with SessionLocal() as session:
        yield session


SessionDependency = Annotated[Session, Depends(get_session)]

Base.metadata.create_all(engine)
app = FastAPI(dependencies=[Depends(check_key)])


@app.post("/webmessages", status_code=201)
def create_web_message(body: MessageIn, session: SessionDependency) -> Response:
    message = WebMessage(
        party_id=body.partyId,
        message=body.message,
        external_references=[ExternalReference(key=item.key, value=item.value) for item in body.externalReferences],
    )
    session.add(message)
    session.flush()
    location = f"/webmessages/{message.id}"
    session.commit()
    return Response(status_code=201, headers={"Location": location})


@app.get("/webmessages/{message_id}")
def get_web_message(message_id: uuid.UUID, session: SessionDependency) -> MessageOut:
    message = session.get(WebMessage, message_id, options=[selectinload(WebMessage.external_references)])
    if message is None:
        raise HTTPException(404)
    return MessageOut.model_validate(message)


@app.get("/webmessages/recipients/{party_id}")
def list_web_messages(party_id: uuid.UUID, session: SessionDependency) -> list[MessageOut]:
    messages = session.scalars(
        select(WebMessage)
        .where(WebMessage.party_id == party_id)
        .order_by(WebMessage.created, WebMessage.id)
        .options(selectinload(WebMessage.external_references))
    )
    return [MessageOut.model_validate(message) for message in messages]
