"""Show errors for which an application has no page to people with a browser."""

from collections.abc import Sequence
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openapi.pages.preferences import prefers_html
from openapi.pages.rendering import Pages


class ErrorPages:
    """The error pages of one application. All have `links`, which are texts and addresses, the most useful first."""

    def __init__(self, pages: Pages, links: Sequence[tuple[str, str]]) -> None:
        self._pages = pages
        self._links = links

    def render(
        self,
        request: Request,
        problem: str,
        status: HTTPStatus = HTTPStatus.NOT_FOUND,
        *,
        allowed: str = "",
        root: str = "",
        cache_control: str | None = "no-store",
    ) -> Response:
        """Return an error as a page. `allowed` are the methods of the path if it has others.

        `root` is put before relative addresses.
        """
        values = {
            "status": status,
            "problem": problem,
            "path": request.url.path,
            "allowed": allowed,
            "links": [(text, root + address) for text, address in self._links],
            "request_id": request.scope.get("budkavle.request_id"),
        }
        response = self._pages.render("error.html", values, status=status, root=root, cache_control=cache_control)
        if allowed:
            response.headers["Allow"] = allowed
        return response

    async def respond(
        self, app: ASGIApp, problem: str, scope: Scope, receive: Receive, send: Send, *, root: str = ""
    ) -> None:
        """Respond as `app`, or with a page that states the problem if its status is an error and a person asked."""
        page: Response | None = None

        async def send_page(message: Message) -> None:
            nonlocal page
            if message["type"] == "http.response.start" and message["status"] >= HTTPStatus.BAD_REQUEST:
                allowed = dict(message["headers"]).get(b"allow", b"").decode()
                page = self.render(Request(scope), problem, HTTPStatus(message["status"]), allowed=allowed, root=root)
                await page(scope, receive, send)
            elif page is None:
                await send(message)

        is_of_person = scope["type"] == "http" and prefers_html(scope["headers"])
        await app(scope, receive, send_page if is_of_person else send)
