"""Resolve the names of receivers in threads, and reject a name if any of its addresses is not allowed."""

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from delivery.addresses import AddressRefused, may_be_called


class CheckingResolver(AbstractResolver):
    """A resolver that checks the addresses of another one. It raises `AddressRefused` if any must not be called.

    Without this class aiohttp would try the addresses of a name until one is allowed. A name with both a private and a
    public address is either a mistake or an attack.
    """

    def __init__(self, names: AbstractResolver, *, allow_private: bool) -> None:
        self._names = names
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a name. All of them may be called."""
        found = await self._names.resolve(host, port, family)
        if not found:
            raise OSError("the name has no address")
        for each in found:
            if not may_be_called(each["host"], allow_private=self._allow_private):
                raise AddressRefused(each["host"])
        return found

    async def close(self) -> None:
        """Do nothing: the other resolver is shared."""


class ThreadResolver(AbstractResolver):
    """A resolver that uses the operating system, with one thread per look-up.

    The event loop has four to six threads for all look-ups. A few names with unresponsive DNS servers would occupy them
    for half a minute each, and no other receiver could be called. A connector makes one look-up per name at a time, so
    there are never more threads than receivers. They are daemon threads and end with the process.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a name. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[Any]] = loop.create_future()

        def finish(infos: list[Any], error: OSError | None) -> None:
            if found.done():
                return
            if error is None:
                found.set_result(infos)
            else:
                found.set_exception(error)

        def look_up() -> None:
            infos: list[Any] = []
            error: OSError | None = None
            try:
                infos = _look_up(host, port, family)
            except OSError as exc:
                error = exc
            except UnicodeError:
                error = socket.gaierror(socket.EAI_NONAME, "not a host name")
            # The event loop may have been closed in the meantime.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(finish, infos, error)

        threading.Thread(target=look_up, name=f"look up {host}", daemon=True).start()
        return [
            ResolveResult(hostname=host, host=address[0], port=port, family=kind, proto=protocol, flags=0)
            for kind, _, protocol, _, address in await found
        ]

    async def close(self) -> None:
        """Do nothing: the threads of running look-ups end by themselves."""


def _look_up(host: str, port: int, family: int) -> list[Any]:
    """Return the addresses of a name. A final dot marks it as complete, so no search domain is appended.

    Resolvers do not find a name with a final dot in the hosts file, so a failed look-up is retried without the dot.
    """
    try:
        return socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    except socket.gaierror:
        if not host.endswith("."):
            raise
    return socket.getaddrinfo(host.rstrip("."), port, family=family, type=socket.SOCK_STREAM)
