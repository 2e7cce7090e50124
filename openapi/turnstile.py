"""Spreads requests that come together over turns of the event loop, so that others are heard between them."""

import asyncio
from collections import deque

PER_TURN = 4
"""Requests that begin in one turn. Each costs the loop half a millisecond or more before it first waits."""


class Turnstile:
    """Lets `PER_TURN` requests through in each turn of the event loop, in the order in which they came."""

    def __init__(self) -> None:
        self._left = PER_TURN
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_turning = False

    async def pass_through(self) -> None:
        """Returns in this turn, or in the first that has room."""
        loop = asyncio.get_running_loop()
        if not self._is_turning:
            self._is_turning = True
            loop.call_soon(self._turn)
        if self._left:
            self._left -= 1
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _turn(self) -> None:
        self._left = PER_TURN
        while self._left and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                self._left -= 1
                turn.set_result(None)
        self._is_turning = self._left < PER_TURN
        if self._is_turning:
            asyncio.get_running_loop().call_soon(self._turn)
