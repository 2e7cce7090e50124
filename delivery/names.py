"""Names of receivers: looked up beside the event loop, and refused as a whole if any address of theirs is."""

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from delivery.addresses import AddressRefused, may_be_called


class CheckedNames(AbstractResolver):
    """Names by another resolver. Raises `AddressRefused` if one of the addresses may not be called.

    Without this the addresses of a name would be tried until one may be called, and a name that points at a private
    address beside a public one is either a mistake or an attempt.
    """

    def __init__(self, names: AbstractResolver, *, allow_private: bool) -> None:
        self._names = names
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name, all of which may be called."""
        found = await self._names.resolve(host, port, family)
        if not found:
            raise OSError("the name has no address")
        for each in found:
            if not may_be_called(each["host"], allow_private=self._allow_private):
                raise AddressRefused(each["host"])
        return found

    async def close(self) -> None:
        """Does nothing: the other resolver is shared."""


class Names(AbstractResolver):
    """Names as this machine resolves them, each look-up in a thread of its own.

    The event loop has four to six threads for all look-ups. A few names whose servers are silent would hold them for
    half a minute each, and no other receiver could be called. A connector looks a name up once at a time, so there are
    never more threads than receivers; they end with the process.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name; raises `OSError`."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[Any]] = loop.create_future()

        def tell(infos: list[Any], error: OSError | None) -> None:
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
            # The loop may have ended meanwhile, with nobody left to tell.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(tell, infos, error)

        threading.Thread(target=look_up, name=f"look up {host}", daemon=True).start()
        return [
            ResolveResult(hostname=host, host=address[0], port=port, family=kind, proto=protocol, flags=0)
            for kind, _, protocol, _, address in await found
        ]

    async def close(self) -> None:
        """Does nothing: threads that still look up end by themselves."""


def _look_up(host: str, port: int, family: int) -> list[Any]:
    """Return the addresses of a name. A final dot says that the name is complete, so no search domain is added.

    Resolvers do not find such a name in the hosts file, so one that is not found is looked up without its dot too.
    """
    try:
        return socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    except socket.gaierror:
        if not host.endswith("."):
            raise
    return socket.getaddrinfo(host.rstrip("."), port, family=family, type=socket.SOCK_STREAM)
