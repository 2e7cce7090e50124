import re

import pytest
import requests

from mock_open_e import FAULT_KINDS
from mock_open_e.server.page import create_page_routes, create_pages
from mock_open_e.server.specs import find_spec_dir

PAGES = ("/", "/calls", "/faults", "/conditions")
ROUTES = create_page_routes(create_pages())
FILES = sorted(route.path for route in ROUTES if route.path.startswith("/files/"))
FIRST_PAGE_BYTES = 100_000


@pytest.mark.parametrize("world", ["", "/s/job1"])
@pytest.mark.parametrize("path", PAGES)
def test_page_is_sent_with_a_policy_that_allows_only_its_own_files(idle_mock_url, world, path):
    response = requests.get(f"{idle_mock_url}{world}{path}", timeout=5)
    assert response.status_code == 200
    policy = dict(part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("world", ["", "/s/job1"])
def test_page_and_its_files_are_small_and_need_no_external_resources(idle_mock_url, world):
    assert {"/files/style.css", "/files/inbox.css", "/files/messages.js"} <= set(FILES)
    total = 0
    for path in ("/", *(path for path in FILES if not path.startswith("/files/swagger-ui"))):
        response = requests.get(f"{idle_mock_url}{world}{path}", timeout=5)
        assert response.status_code == 200
        total += len(response.content)
        assert not re.search(r"""(src|href)=["']?(https?:)?//|@import|url\(""", response.text)
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", response.text)
    assert total < FIRST_PAGE_BYTES


def test_page_explains_every_fault(idle_mock_url):
    text = requests.get(f"{idle_mock_url}/faults", timeout=5).text
    for kind in FAULT_KINDS:
        assert text.count(f'value="{kind.fault}"') == text.count(f'id="kind-{kind.fault}"') == 1
        assert kind.effect in text
        assert kind.cause in text


def test_page_of_a_name_contains_its_own_address(idle_mock_url):
    response = requests.get(f"{idle_mock_url}/s/job1", timeout=5)
    assert (response.status_code, response.url) == (200, f"{idle_mock_url}/s/job1/")
    assert f"{idle_mock_url}/s/job1/external/api/callback<" in response.text
    assert 'href="files/style.css"' in response.text


def test_pages_link_the_other_names(idle_mock_url):
    for name in ("job1", "job2"):
        requests.get(f"{idle_mock_url}/s/{name}/", timeout=5)
    assert {"job1", "job2"} <= set(requests.get(f"{idle_mock_url}/s/job1/control/names", timeout=5).json())
    root = requests.get(f"{idle_mock_url}/", timeout=5).text
    assert 'href="./s/job1/"' in root
    assert 'href="./s/job2/"' in root
    named = requests.get(f"{idle_mock_url}/s/job1/calls", timeout=5).text
    assert re.findall(r'href="(\.\./[^"]*job[12][^"]*)"', named) == ["../../s/job2/"]
    assert 'href="../../"' in named


@pytest.mark.parametrize(("world", "server"), [("", "/"), ("/s/job1", "/s/job1")])
def test_docs_page_calls_its_own_mock(idle_mock_url, world, server):
    page = requests.get(f"{idle_mock_url}{world}/docs", timeout=5)
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'; script-src 'self'")
    contract = requests.get(f"{idle_mock_url}{world}/docs/openapi.json", timeout=5).json()
    assert contract["servers"] == [{"url": server}]
    parameters = contract["components"]["parameters"]
    assert "example" in parameters["FlowInstanceID"]
    assert not {"example"} & {*parameters["CaseQuery"], *parameters["Refused"], *parameters["FromTime"]}
    source = requests.get(f"{idle_mock_url}{world}/docs/openapi.yaml", timeout=5)
    assert source.content == (find_spec_dir() / "mock-open-e.yaml").read_bytes()


def test_page_refuses_other_methods(idle_mock_url):
    for path in ("/", "/calls", "/files/messages.js"):
        response = requests.post(f"{idle_mock_url}{path}", timeout=5)
        assert (response.status_code, set(response.headers["Allow"].split(", "))) == (405, {"GET", "HEAD"})
    assert requests.head(f"{idle_mock_url}/s/job1/", timeout=5).status_code == 200


@pytest.mark.parametrize("world", ["", "/s/job1"])
@pytest.mark.parametrize("path", ["/nothing/here", "/external/api/nothing", "/control/nothing"])
def test_person_gets_a_page_for_an_unknown_path_and_a_program_the_same_as_before(idle_mock_url, world, path):
    page = requests.get(f"{idle_mock_url}{world}{path}", headers={"Accept": "text/html,*/*;q=0.8"}, timeout=5)
    assert (page.status_code, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert f"<code>{world}{path}</code>" in page.text
    addresses = set(re.findall('(?:href|src)="([^"]*)"', page.text)) - {"#main"}
    assert {address.startswith(f"{world}/") for address in addresses} == {True}
    assert {requests.get(idle_mock_url + address, timeout=5).status_code for address in addresses} == {200}
    for accept in ("*/*", "application/json", "text/xml"):
        response = requests.get(f"{idle_mock_url}{world}{path}", headers={"Accept": accept}, timeout=5)
        assert response.status_code == 404
        assert "html" not in response.headers.get("Content-Type", "")


def test_person_gets_the_errors_of_open_e_unchanged(idle_mock_url):
    for path in ("/external/api/callback?wsdl=2", "/api/messageapi/nothing", "/control/journal/7"):
        texts = {
            requests.get(idle_mock_url + path, headers={"Accept": accept}, timeout=5).text
            for accept in ("text/html,*/*;q=0.8", "*/*")
        }
        assert len(texts) == 1
