"""The mock Open-E as a server: callbacks, control API and inbox page, at the root and below each `/s/NAME/`."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import BudkavleError
from mock_open_e import MockOpenE
from mock_open_e.server.control_application import create_control_application
from mock_open_e.server.page import create_page_routes, create_pages
from mock_open_e.server.soap import MockProtocol
from mock_open_e.server.specs import find_spec_dir
from mock_open_e.server.worlds import World, Worlds
from openapi.pages.errors import ErrorPages
from openapi.requests import SERVICES
from openapi.server.protocol import UpgradeIgnoringProtocol, has_valid_host
from openapi.server.serving import build_address, listen, run_servers

_CONTROL = "/control/"
_HEALTH = "/healthz"
_NAMED = re.compile(r"/s/(?P<name>[A-Za-z0-9._-]{1,64})(?P<path>/.*)?", re.DOTALL)
_OPEN_E = re.compile(r"/(?:(?:external|internal)/)?api/(?:callback|messageapi/.*)", re.DOTALL)
"""The paths whose responses imitate Open-E, errors too."""
_UNKNOWN = "The mock has no such page"
_DOTS = frozenset({".", ".."})
"""Names that clients normalise to other paths."""


class _MockProtocol(UpgradeIgnoringProtocol, MockProtocol):
    """The mock's own protocol, for clients that offer HTTP/2 as well. Requires a Host header."""

    def on_headers_complete(self) -> None:
        if not has_valid_host(self.headers, self.parser.get_http_version()):
            # uvicorn responds 400 to an exception from a callback of the parser.
            raise ValueError("host")
        super().on_headers_complete()


class CannotWrite(BudkavleError):
    """A file cannot be written."""


class MockApplication:
    """The whole server as an ASGI application."""

    def __init__(self, worlds: Worlds) -> None:
        self._worlds = worlds
        pages = create_pages()
        self._errors = ErrorPages(pages, [("See the messages", "./"), ("See the control API", "docs")])
        self._control = create_control_application(find_spec_dir(), self._render_unknown_path)
        routes = create_page_routes(pages)
        self._pages = Router(routes, redirect_slashes=False)
        self._page_paths = {route.path for route in routes if isinstance(route, Route)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find the world of a call by its path and dispatch the call to it."""
        named = _NAMED.fullmatch(scope["path"])
        if named is None or named["name"] in _DOTS:
            await self._dispatch(self._worlds.root, scope["path"], scope, receive, send)
        elif named["path"] is None:
            await RedirectResponse(f"{scope['path'].rpartition('/')[2]}/")(scope, receive, send)
        else:
            scope = {**scope, "root_path": f"/s/{named['name']}"}
            await self._dispatch(self._worlds.get(named["name"]), named["path"], scope, receive, send)

    async def _dispatch(self, world: World, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        world.running += 1
        try:
            if path.startswith(_CONTROL) or path == _HEALTH:
                await self._respond_control(world, scope, receive, send)
            elif path in self._page_paths:
                await self._pages({**scope, SERVICES: world}, receive, send)
            elif _OPEN_E.fullmatch(path):
                await world.soap(scope, receive, send)
            else:
                await self._errors.respond(world.soap, _UNKNOWN, scope, receive, send, root=_get_root(scope))
        finally:
            world.running -= 1

    def _render_unknown_path(self, request: Request, _problem: str) -> Response:
        return self._errors.render(request, _UNKNOWN, root=_get_root(request.scope))

    async def _respond_control(self, world: World, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_allowing_head(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 405:  # noqa: PLR2004  # Its Allow lists the contract's methods alone.
                message["headers"] = [
                    (name, value.replace(b"GET", b"GET, HEAD") if name == b"allow" else value)
                    for name, value in message["headers"]
                ]
            await send(message)

        # Handle HEAD as GET: uvicorn has stored the original method and sends no body.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        await self._control({**scope, "method": method}, receive, send_allowing_head, world)


def _get_root(scope: Scope) -> str:
    """Return the address of the pages of the world to which a call belongs."""
    root: str = scope.get("root_path", "")
    return f"{root}/"


class MockServer(uvicorn.Server):
    """A uvicorn server that ends waiting calls when it stops. Without `signals`, it ignores signals."""

    def __init__(self, config: uvicorn.Config, worlds: Worlds, *, signals: bool) -> None:
        super().__init__(config)
        self._worlds = worlds
        self._signals = signals

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End on SIGINT and SIGTERM if this server handles signals."""
        with super().capture_signals() if self._signals else contextlib.nullcontext():
            yield

    async def shutdown(self, sockets: Any = None) -> None:
        """Stop the server."""
        self._worlds.close()
        await super().shutdown(sockets)


def create_server(mock: MockOpenE, host: str, port: int, *, signals: bool = True) -> uvicorn.Server:
    """Return the mock on uvicorn, not yet running: await its `serve()`, and set `should_exit` to stop it.

    Port 0 selects a free port. With `signals` it ends on SIGINT and SIGTERM. Named worlds begin with the mock's
    scenario. A stop waits one second for running requests.
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
    host: str, port: int, mock: MockOpenE, ready_file: Path | None, print_line: Callable[[str], None]
) -> None:
    """Run the mock until a signal arrives. While it listens, `ready_file` contains its address."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen(host, port))
        url = build_address(listener)

        def report_start() -> None:
            stack.enter_context(_write_ready_file(ready_file, url))
            print_line(f"The mock Open-E listens on {url}")

        await run_servers([(create_server(mock, host, port, signals=False), listener)], report_start)


@contextlib.contextmanager
def _write_ready_file(path: Path | None, url: str) -> Iterator[None]:
    """Keep a file with the address while the context is active. The file is never seen incomplete."""
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
