"""Render pages for people in one design, with headers that allow nothing from elsewhere.

An application creates one `Pages` for a folder of its own:

    pages = Pages(Path(__file__).parent / "templates", name="Budkavle", files="/static", links=[("Queue", "/queue")])
    routes = [Route("/queue", show_queue), *pages.create_file_routes()]
    ...
    return pages.render("queue.html", {"current": "/queue", "deliveries": deliveries})

The folder has templates that extend the layout, and the style sheets, scripts (`.js`) and images (`.svg`) that only
they use:

    {% extends "layout.html" %}
    {% block title %}Queue{% endblock %}
    {% block head %}<script type="module" src="{{ site.files }}/queue.js"></script>{% endblock %}
    {% block content %}<h1>Queue</h1> ... {{ delivery.created|time }} ...{% endblock %}
    {% block foot %}<footer class="foot">...</footer>{% endblock %}

Values are escaped. A missing value raises an error. `style.css` describes its classes. Inline scripts, `style`
attributes and scripts that assign HTML text (`innerHTML`) do not work, because the policy rejects them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from openapi.pages.files import MEDIA_TYPES, create_file_route

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

POLICY: Mapping[str, str] = {
    "default-src": "'none'",
    "style-src": "'self'",
    "script-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
}
"""The directives of the content security policy."""

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class _Site:
    """The values of the layout."""

    name: str
    files: str
    home: str
    links: tuple[tuple[str, str], ...]

    def move(self, root: str) -> "_Site":
        """Return these values for a page elsewhere, with `root` before each relative address."""
        links = tuple((text, root + address) for text, address in self.links)
        return replace(self, files=root + self.files, home=root + self.home, links=links)


class Pages:
    """The pages of one application."""

    def __init__(
        self, folder: Path, *, name: str, files: str, home: str = "/", links: Sequence[tuple[str, str]] = ()
    ) -> None:
        """`name` is that of the application, for header and titles; `files` is the path below which its files are.

        `home` is the address of the name. `links` are texts and addresses of the menu; the page whose value `current`
        is one of the addresses is marked. All addresses may be relative.
        """
        self._folder = folder
        self._site = _Site(name, files, home, tuple(links))

    def render(
        self,
        template: str,
        values: Mapping[str, Any] | None = None,
        *,
        status: HTTPStatus = HTTPStatus.OK,
        policy: Mapping[str, str] = POLICY,
        root: str = "",
        cache_control: str | None = "no-store",
    ) -> Response:
        """Return a page as a response.

        `root` is put before the relative addresses of this application. With `cache_control` None, another layer adds
        that header.
        """
        site = self._site.move(root) if root else self._site
        page = (
            _create_environment(self._folder)
            .get_template(template)
            .render({"site": site, "current": None, **(values or {})})
        )
        headers = {
            "Content-Security-Policy": "; ".join(f"{name} {sources}" for name, sources in policy.items()),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        if cache_control is not None:
            headers["Cache-Control"] = cache_control
        return Response(page, status, headers, media_type="text/html; charset=utf-8")

    def create_file_routes(self) -> list[BaseRoute]:
        """Return the routes of the shared style sheet and icon, and of the folder's own files."""
        own = sorted(path for path in self._folder.iterdir() if path.suffix in MEDIA_TYPES)
        return [
            create_file_route(f"/{self._site.files.strip('/')}/{path.name}", path, MEDIA_TYPES[path.suffix])
            for path in (_FOLDER / "style.css", _FOLDER / "icon.svg", *own)
        ]


@cache
def _create_environment(folder: Path) -> "Environment":
    """Return the templates of a folder. They are compiled once in a process, however many applications show them."""
    # Programs that show no page do not wait for this import.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([folder, _FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters["time"] = format_time
    return environment


def format_time(moment: datetime) -> "Markup":
    """Return a moment as an element: in UTC in words, and in ISO 8601 for programs."""
    from markupsafe import Markup

    utc = moment.astimezone(UTC)
    exact = utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}">{:%-d %b %Y, %H:%M:%S} UTC</time>').format(exact, utc)
