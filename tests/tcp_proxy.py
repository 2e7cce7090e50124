"""A TCP proxy that can stop forwarding, as a firewall or a hanging host does."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator

from openapi.server.serving import build_address, listen


class TcpProxy:
    """Forwards connections to a port or a Unix socket, in a separate thread.

    After `freeze` the open connections remain open without traffic; new ones work. With `freeze(is_deaf=True)` new
    ones are accepted but have no traffic either.
    """

    def __init__(self, target: str | tuple[str, int]) -> None:
        self._target = target
        self._listener = listen("127.0.0.1", 0)
        self.port: int = self._listener.getsockname()[1]
        self.url = build_address(self._listener)
        self.opened = 0
        self._loop = asyncio.new_event_loop()
        self._links: set[_Link] = set()
        self._is_deaf = False
        self._bytes_left: int | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._start())

    def freeze(self, *, is_deaf: bool = False) -> None:
        """Stop the traffic of the open connections."""
        self._call(self._set(is_frozen=True, is_deaf=is_deaf))

    def freeze_after(self, size: int) -> None:
        """Stop the traffic of the open connections once this number of bytes has been forwarded to their callers."""
        self._bytes_left = size

    def unfreeze(self) -> None:
        """Forward everything, including bytes that arrived meanwhile."""
        self._call(self._set(is_frozen=False, is_deaf=False))

    def retarget(self, target: str | tuple[str, int]) -> None:
        """Forward new connections to another port or Unix socket."""
        self._target = target

    def cut(self) -> None:
        """Close all open connections."""
        self._call(self._cut())

    def refuse(self) -> None:
        """Close all open connections and stop listening, as a server that stops."""
        self._call(self._stop())

    def accept(self) -> None:
        """Listen again on the same port."""
        self._listener = listen("127.0.0.1", self.port)
        self._call(self._start())

    def close(self) -> None:
        """Close everything."""
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def _call(self, coroutine: object) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)  # type: ignore[arg-type]  # A coroutine.

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._accept, sock=self._listener)

    async def _set(self, *, is_frozen: bool, is_deaf: bool) -> None:
        self._is_deaf = is_deaf
        for link in self._links:
            link.set_frozen(is_frozen)

    def _count(self, size: int) -> None:
        if self._bytes_left is None:
            return
        self._bytes_left -= size
        if self._bytes_left <= 0:
            self._bytes_left = None
            for link in self._links:
                link.set_frozen(True)

    async def _cut(self) -> None:
        for link in list(self._links):
            link.end()

    async def _stop(self) -> None:
        self._server.close()
        await self._cut()
        while self._links:
            await asyncio.wait([link.task for link in self._links])

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        task = asyncio.current_task()
        assert task is not None
        link = _Link(task, self._count)
        link.set_frozen(self._is_deaf)
        self._links.add(link)
        try:
            await link.run(reader, writer, self._target)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._links.discard(link)
            writer.close()


class _Link:
    """One connection through the proxy."""

    def __init__(self, task: asyncio.Task[None], count: Callable[[int], None]) -> None:
        self.task = task
        self._count = count
        self._flows = asyncio.Event()

    def set_frozen(self, is_frozen: bool) -> None:  # It is set.
        (self._flows.clear if is_frozen else self._flows.set)()

    def end(self) -> None:
        self.task.cancel()

    async def run(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str | tuple[str, int]
    ) -> None:
        await self._flows.wait()
        if isinstance(target, str):
            back_reader, back_writer = await asyncio.open_unix_connection(target)
        else:
            back_reader, back_writer = await asyncio.open_connection(*target)
        both = [
            asyncio.create_task(self._pump(reader, back_writer, lambda _: None)),
            asyncio.create_task(self._pump(back_reader, writer, self._count)),
        ]
        try:
            # The end of either side closes both.
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            back_writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
                count(len(data))
            await self._flows.wait()


@contextlib.contextmanager
def tcp_proxy(target: str | tuple[str, int]) -> Iterator[TcpProxy]:
    """Run a proxy for the duration of a test."""
    proxy = TcpProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
