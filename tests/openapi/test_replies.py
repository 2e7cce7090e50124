"""Responses whose memory is reserved until they are sent."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.responses import Response
from starlette.types import Message

from domain.errors import Overloaded
from openapi import replies
from openapi.bodies.budget import BodyBudget
from openapi.replies import SMALL_BYTES

BODY = bytes(range(256)) * (SMALL_BYTES // 100)


async def receive() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def test_reserve_keeps_a_large_response_in_the_budget_until_it_is_sent(run: Callable[[Any], Any]) -> None:
    async def respond() -> None:
        budget = BodyBudget(len(BODY), 0.01)
        sent: list[Message] = []

        async def send(message: Message) -> None:
            assert budget.reserved == len(BODY)
            with pytest.raises(Overloaded):
                await replies.reserve(Response(BODY), budget)
            sent.append(message)

        response = await replies.reserve(Response(BODY, headers={"Content-Type": "a/b"}), budget)
        await response({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)
        assert budget.reserved == 0
        assert dict(sent[0]["headers"]) == {b"content-type": b"a/b", b"content-length": b"%d" % len(BODY)}
        assert b"".join(bytes(each["body"]) for each in sent[1:]) == BODY
        assert max(len(each["body"]) for each in sent[1:]) == SMALL_BYTES

    run(respond())


def test_reserve_does_not_change_a_small_response(run: Callable[[Any], Any]) -> None:
    response = Response(b"x" * SMALL_BYTES)
    assert run(replies.reserve(response, BodyBudget(1, 0.01))) is response
