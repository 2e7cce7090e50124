"""The published contracts and their pages."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from budkavle.demo.web_messages import describe_demo
from conftest import RunningService
from handlers.contracts import CONTRACTS
from tests.delivery_schema import PATH, build_schema

SPEC = Path(__file__).parents[2] / "spec"
NAMES = sorted(path.stem for path in SPEC.glob("*.yaml") if path.stem != "mock-open-e")
"""The contracts of the service; the service does not serve that of the mock."""

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


class Addresses(HTMLParser):
    """The addresses that a page requests, and those that it links."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in {"src", "href"} and value:
                (self.linked if tag == "a" else self.loaded).append(value)


def list_addresses(page: str) -> Addresses:
    parser = Addresses()
    parser.feed(page)
    return parser


def test_contracts_exist() -> None:
    assert {"operations", "web-messages"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_contract_is_served_as_yaml_and_json(contract: RunningService, name: str) -> None:
    source = (SPEC / f"{name}.yaml").read_bytes()
    response = contract.client.get(f"/docs/{name}/openapi.yaml")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/yaml"
    assert response.content == source
    response = contract.client.get(f"/docs/{name}/openapi.json")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == yaml.safe_load(source)


@pytest.mark.parametrize("name", NAMES)
def test_each_contract_has_a_page_that_loads_only_local_files(contract: RunningService, name: str) -> None:
    response = contract.client.get(f"/docs/{name}")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"(?:https?:)?//", response.text)
    found = list_addresses(response.text)
    assert any(address.endswith(".js") for address in found.loaded)
    assert any(address.endswith(".css") for address in found.loaded)
    match = re.search(r'data-url="([^"]+)"', response.text)
    assert match is not None
    assert match[1] == f"/docs/{name}/openapi.json"
    for address in [*found.loaded, match[1]]:
        loaded = contract.client.get(address)
        assert loaded.status_code == 200, address
        assert loaded.content


def test_json_schema_of_a_delivery_is_served_and_is_that_of_the_contract(contract: RunningService) -> None:
    """`python -m tests.delivery_schema` writes it."""
    assert PATH.read_text() == build_schema()
    response = contract.client.get("/docs/deliveries/schema.json")
    assert response.headers["content-type"] == "application/schema+json"
    assert response.content == PATH.read_bytes()


def test_index_links_every_contract(contract: RunningService) -> None:
    response = contract.client.get("/docs")
    assert response.status_code == 200
    linked = list_addresses(response.text).linked
    assert {f"/docs/{name}" for name in NAMES} | {"/docs/deliveries/schema.json"} <= set(linked)
    assert all(contract.client.get(address, headers=BROWSER).status_code == 200 for address in linked)


def test_pages_require_no_key(contract: RunningService) -> None:
    for path in ("/docs", "/docs/web-messages", "/docs/static/swagger-ui-bundle.js"):
        assert contract.client.get(path, headers={"apikey": ""}).status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_browser_gets_a_front_page(contract: RunningService, method: str) -> None:
    response = contract.client.request(method, "/", headers=BROWSER)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers.get_list("cache-control") == ["no-store"]
    assert response.headers["x-request-id"]
    linked = list_addresses(response.text).linked
    assert method == "HEAD" or {"/docs", "/docs/web-messages", "/health/ready", "/metrics"} <= set(linked)
    assert all(contract.client.get(address, headers=BROWSER).status_code == 200 for address in linked)


def test_front_page_is_small(contract: RunningService) -> None:
    page = contract.client.get("/", headers=BROWSER)
    loaded = [contract.client.get(address) for address in list_addresses(page.text).loaded]
    assert len(loaded) >= 3
    assert sum(len(response.content) for response in (page, *loaded)) < 50_000


@pytest.mark.parametrize("path", ["/nothing", "/docs/", "/docs/static/", "/webmessages/", "/v1/nothing", "/<b>&"])
def test_browser_gets_a_page_for_an_unknown_path(contract: RunningService, path: str) -> None:
    response = contract.client.get(path, headers=BROWSER | {"x-request-id": "named-1"})
    assert response.status_code == 404
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "404 Not Found" in response.text
    assert "No operation has this path" in response.text
    assert "<b>&" not in response.text
    assert "/docs" in list_addresses(response.text).linked


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("accepted", [None, "*/*", "application/json", "application/problem+json", "text/plain"])
@pytest.mark.parametrize("path", ["/", "/nothing"])
def test_program_gets_a_problem_for_an_unknown_path(
    contract: RunningService, path: str, accepted: str | None, method: str
) -> None:
    headers = {} if accepted is None else {"accept": accepted}
    request = contract.client.build_request(method, path, headers=headers)
    if accepted is None:
        del request.headers["accept"]
    response = contract.client.send(request)
    assert response.status_code == 404
    assert response.content == (
        b'{"title":"Not Found","status":{"statusCode":404,"reasonPhrase":"Not Found"},'
        b'"detail":"No operation has this path"}'
    )
    assert set(response.headers) == {"content-type", "content-length", "cache-control", "date", "x-request-id"}
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/webmessages/x", 400),
        ("PUT", "/webmessages", 405),
        ("GET", "/v1/abonnement", 401),
        ("POST", "/docs", 405),
    ],
)
def test_browser_gets_the_errors_of_a_contract_unchanged(
    contract: RunningService, method: str, path: str, status: int
) -> None:
    responses = [contract.client.request(method, path, headers=each) for each in (BROWSER, {"accept": "*/*"})]
    assert [response.status_code for response in responses] == [status, status]
    assert responses[0].content == responses[1].content
    assert responses[0].headers["content-type"] == responses[1].headers["content-type"]


def test_titles_of_the_pages_are_english(contract: RunningService) -> None:
    titles = {
        name: re.findall("<title>(.*) [|] Budkavle</title>", contract.client.get(f"/docs/{name}").text)
        for name in NAMES
    }
    assert titles["subscriptions"] == ["Subscriptions (Abonnementer)"]
    assert all(title[0].isascii() for title in titles.values())


def test_demo_names_security_schemes_of_the_contracts() -> None:
    specs: list[Any] = [yaml.safe_load((SPEC / f"{name}.yaml").read_text()) for name in CONTRACTS]
    schemes = {name: scheme for spec in specs for name, scheme in spec["components"].get("securitySchemes", {}).items()}
    demo = describe_demo("http://mock.test", "http://receiver.test", "http://operations.test")
    assert {name for name, scheme in schemes.items() if scheme["type"] == "apiKey"} == set(demo.credentials)
    addresses = ["http://mock.test/", "http://receiver.test/", "http://operations.test/operations"]
    assert [address for _, address in demo.links] == addresses
