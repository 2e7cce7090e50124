"""The mock Open-E as a server: callbacks, control API and inbox page, at the root and under each `/s/NAME/`."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import BudkavleError
from mock_open_e import MockOpenE
from mock_open_e.server.control_application import create_control_application
from mock_open_e.server.page import page_files
from mock_open_e.server.soap import MockProtocol
from mock_open_e.server.specs import spec_dir
from mock_open_e.server.worlds import World, Worlds
from openapi.server.protocol import UpgradeIgnoringProtocol
from openapi.server.serving import address_of, listen, run_servers

_CONTROL = "/control/"
_NAMED = re.compile(r"/s/(?P<name>[A-Za-z0-9._-]{1,64})(?P<path>/.*)?", re.DOTALL)
_DOTS = frozenset({".", ".."})
"""What clients make other paths of."""


class _MockProtocol(UpgradeIgnoringProtocol, MockProtocol):
    """The mock's own protocol, for clients that offer HTTP/2 too."""


class CannotWrite(BudkavleError):
    """A file cannot be written."""


class MockApplication:
    """All of the server as an ASGI app."""

    def __init__(self, worlds: Worlds) -> None:
        self._worlds = worlds
        self._control = create_control_application(spec_dir())
        self._page = page_files()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Finds the world of a call by its path, and has it answered there."""
        named = _NAMED.fullmatch(scope["path"])
        if named is None or named["name"] in _DOTS:
            await self._answer(self._worlds.root, scope["path"], scope, receive, send)
        elif named["path"] is None:
            await RedirectResponse(f"{scope['path'].rpartition('/')[2]}/")(scope, receive, send)
        else:
            scope = {**scope, "root_path": f"/s/{named['name']}"}
            await self._answer(self._worlds.get(named["name"]), named["path"], scope, receive, send)

    async def _answer(self, world: World, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        world.running += 1
        try:
            if path.startswith(_CONTROL):
                await self._answer_control(world, scope, receive, send)
            elif path in self._page:
                await self._show(path, scope, receive, send)
            else:
                await world.soap(scope, receive, send)
        finally:
            world.running -= 1

    async def _answer_control(self, world: World, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_allowing_head(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 405:  # noqa: PLR2004  # Its Allow lists the contract's methods alone.
                message["headers"] = [
                    (name, value.replace(b"GET", b"GET, HEAD") if name == b"allow" else value)
                    for name, value in message["headers"]
                ]
            await send(message)

        # HEAD is answered as GET is; uvicorn, which still knows what was asked, sends no body.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        await self._control({**scope, "method": method}, receive, send_allowing_head, world)

    async def _show(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in {"GET", "HEAD"}:
            await Response(status_code=405, headers={"Allow": "GET, HEAD"})(scope, receive, send)
            return
        file = self._page[path]
        await Response(file.content, headers=dict(file.headers))(scope, receive, send)


class MockServer(uvicorn.Server):
    """uvicorn, which lets nobody wait for messages when it stops. Without `signals`, those are left alone."""

    def __init__(self, config: uvicorn.Config, worlds: Worlds, *, signals: bool) -> None:
        super().__init__(config)
        self._worlds = worlds
        self._signals = signals

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ends on SIGINT and SIGTERM, unless they are somebody else's."""
        with super().capture_signals() if self._signals else contextlib.nullcontext():
            yield

    async def shutdown(self, sockets: Any = None) -> None:
        """Stops."""
        self._worlds.close()
        await super().shutdown(sockets)


def server(mock: MockOpenE, host: str, port: int, *, signals: bool = True) -> uvicorn.Server:
    """The mock on uvicorn, not yet running: awaiting its `serve()` runs it until its `should_exit` is set.

    Port 0 takes any free port. With `signals` it ends on SIGINT and SIGTERM; without, signals are left alone.
    Worlds with names begin with the mock's scenario. A stop waits one second for running requests.
    """
    worlds = Worlds(mock)
    application: ASGIApp = MockApplication(worlds)
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        http=_MockProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    return MockServer(config, worlds, signals=signals)


async def serve_mock(
    host: str, port: int, mock: MockOpenE, ready_file: Path | None, say: Callable[[str], None]
) -> None:
    """Runs the mock until a signal. While it listens, `ready_file` has its address in it."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen(host, port))
        url = address_of(listener)

        def started() -> None:
            stack.enter_context(_told(ready_file, url))
            say(f"The mock Open-E listens on {url}")

        await run_servers([(server(mock, host, port, signals=False), listener)], started)


@contextlib.contextmanager
def _told(path: Path | None, url: str) -> Iterator[None]:
    """Has the address in a file, whole from its first moment, for as long as this lasts."""
    if path is None:
        yield
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(f"{url}\n")
        draft.replace(path)
    except OSError as exc:
        raise CannotWrite(f"cannot write {path}: {exc.strerror}") from exc
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
