"""The published contracts and their pages."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from conftest import RunningService
from tests.delivery_schema import PATH, build_schema

SPEC = Path(__file__).parents[2] / "spec"
NAMES = sorted(path.stem for path in SPEC.glob("*.yaml") if path.stem != "mock-open-e")
"""The contracts of the service; the service does not serve that of the mock."""


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
    assert not re.search(r"(?:https?:)?//", response.text)
    found = list_addresses(response.text)
    assert any(address.endswith(".js") for address in found.loaded)
    assert any(address.endswith(".css") for address in found.loaded)
    match = re.search(r'url: "([^"]+)"', response.text)
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
    assert all(contract.client.get(address).status_code == 200 for address in linked)


def test_pages_require_no_key(contract: RunningService) -> None:
    for path in ("/docs", "/docs/web-messages", "/docs/static/swagger-ui-bundle.js"):
        assert contract.client.get(path, headers={"apikey": ""}).status_code == 200
