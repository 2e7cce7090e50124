"""Pages for people: one layout, a strict policy, and files that browsers revalidate."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from budkavle.settings import Settings
from conftest import running_server
from openapi.pages.rendering import POLICY, Pages, format_time
from tests.browser import is_too_wide, list_violations, needs_browser, read_errors, running_browser, show_as, wait

PAGE = """{% extends "layout.html" %}
{% block title %}Queue{% endblock %}
{% block head %}<script type="module" src="{{ site.files }}/own.js"></script>{% endblock %}
{% block content %}
<h1>Queue</h1>
<p class="lead">Every element that the style sheet knows.</p>
<ul class="cards"><li class="card"><h2>Parked</h2><p class="figure"><b>12</b> deliveries</p></li></ul>
<p>{% for tone in ["good", "warn", "bad", "info"] %}<span class="badge" data-tone="{{ tone }}">{{ tone }}</span>
{% endfor %}<span class="badge">neutral</span></p>
{% for tone in ["good", "warn", "bad", "info"] %}<p class="notice" data-tone="{{ tone }}">Notice</p>{% endfor %}
<dl class="facts"><dt>Created</dt><dd>{{ created|time }}</dd><dt>Text</dt><dd>{{ text }}</dd></dl>
<table class="stacked"><caption>Deliveries</caption>
<thead><tr><th scope="col">Id</th><th scope="col" class="number">Attempts</th></tr></thead>
<tbody><tr><th scope="row" data-label="Id">{{ "0123456789" * 9 }}</th>
<td class="number" data-label="Attempts">3</td></tr>
</tbody></table>
<div class="scroll" role="region" tabindex="0" aria-label="Wide table"><table>
<caption>Wide</caption><tbody><tr>{% for n in range(40) %}<td>{{ n }}</td>{% endfor %}</tr></tbody></table></div>
<form action="/" method="get"><div class="fields">
<div class="field"><label for="a">System</label><input id="a" name="a"><p class="hint">A name</p></div>
<div class="field"><label for="b">State</label><select id="b" name="b"><option>parked</option></select></div></div>
<p class="actions"><button class="primary">Replay 3 deliveries</button><button>Cancel</button>
<button class="danger">Discard</button><button disabled>Done</button></p></form>
<details open><summary>More</summary><pre><code>{"a": 1}</code></pre></details>
<p class="quiet">See <a href="/other">another page</a>.</p>
{% endblock %}
{% block foot %}<footer class="foot">Version 1</footer>{% endblock %}
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    folder = tmp_path_factory.mktemp("pages")
    (folder / "queue.html").write_text(PAGE)
    (folder / "own.js").write_text("document.querySelector('h1').dataset.run = 'yes';")
    return Pages(folder, name="Budkavle", files="/static", links=[("Queue", "/queue"), ("Other", "/other")])


def render(pages: Pages, **options: Any) -> Response:
    values = {"current": "/queue", "created": datetime(2026, 1, 5, 9, 30, tzinfo=UTC), "text": "<b>&"}
    return pages.render("queue.html", values, **options)


def test_render_escapes_values_and_marks_the_current_page(pages: Pages) -> None:
    text = bytes(render(pages).body).decode()
    assert "<dd>&lt;b&gt;&amp;</dd>" in text
    assert re.findall('href="([^"]*)" aria-current="page"', text) == ["/queue"]
    assert "<title>Queue | Budkavle</title>" in text


def test_render_sets_the_headers(pages: Pages) -> None:
    response = render(pages, status=HTTPStatus.NOT_FOUND)
    assert response.status_code == 404
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert {part.split()[0] for part in policy.split("; ")} == set(POLICY)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-store"
    assert "cache-control" not in render(pages, cache_control=None).headers
    assert (
        "style-src 'none'" in render(pages, policy={**POLICY, "style-src": "'none'"}).headers["content-security-policy"]
    )


def test_render_rejects_a_missing_value(pages: Pages) -> None:
    with pytest.raises(UndefinedError, match="'created' is undefined"):
        pages.render("queue.html", {"text": ""})


def test_templates_of_a_folder_are_compiled_once(tmp_path: Path) -> None:
    (tmp_path / "short.html").write_text("{{ site.name }}")
    bodies = []
    for name in ("First", "Second"):
        bodies.append(Pages(tmp_path, name=name, files="/static").render("short.html").body)
        (tmp_path / "short.html").unlink(missing_ok=True)
    assert bodies == [b"First", b"Second"]


def test_format_time_is_in_utc() -> None:
    moment = datetime.fromisoformat("2026-11-30T01:02:03.0456+02:00")
    assert format_time(moment) == ('<time datetime="2026-11-29T23:02:03.045Z">29 Nov 2026, 23:02:03 UTC</time>')


@pytest.fixture(scope="module")
def url(pages: Pages) -> Iterator[str]:
    async def show(_request: Request) -> Response:
        return render(pages)

    application = Router([Route("/queue", show), *pages.create_file_routes()])
    with running_server(Settings(), application, is_service=False) as url:
        yield url


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with running_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@needs_browser
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_design_is_accessible(url: str, browser: Any, width: int, scheme: str) -> None:
    show_as(browser, width=width, scheme=scheme)
    browser.get(f"{url}/queue")
    wait(browser, "document.querySelector('h1').dataset.run === 'yes'")
    assert list_violations(browser) == []
    assert not is_too_wide(browser)
    assert read_errors(browser) == []


@needs_browser
def test_policy_rejects_what_a_page_must_not_contain(url: str, browser: Any) -> None:
    browser.get(f"{url}/queue")
    script = """
        const element = document.createElement("script");
        try { element.textContent = "window.harm = 1"; document.body.append(element); } catch { /* rejected */ }
        document.querySelector("h1").setAttribute("style", "color: red");
        try { document.querySelector("h1").innerHTML = "<i>"; } catch { return window.harm ?? "rejected"; }
    """
    assert browser.execute_script(script) == "rejected"
    assert any("style" in error for error in read_errors(browser))
