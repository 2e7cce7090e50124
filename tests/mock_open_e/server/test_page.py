import re

import pytest
import requests

from mock_open_e.server.page import read_page_files

FILES = ("/", "/inbox.css", "/inbox.js", "/text.js")


@pytest.mark.parametrize("world", ["", "/s/job1"])
@pytest.mark.parametrize("path", FILES)
def test_page_is_sent_with_a_policy_that_allows_only_its_own_files(idle_mock_url, world, path):
    response = requests.get(f"{idle_mock_url}{world}{path}", timeout=5)
    assert response.status_code == 200
    policy = dict(part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_page_needs_no_external_resources_and_inserts_no_html():
    for file in read_page_files().values():
        text = file.content.decode()
        assert not re.search(r"""(src|href)=["']?(https?:)?//|@import|url\(""", text)
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|\son\w+=", text)


def test_page_of_a_name_without_a_slash_is_found(idle_mock_url):
    response = requests.get(f"{idle_mock_url}/s/job1", timeout=5)
    assert (response.status_code, response.url) == (200, f"{idle_mock_url}/s/job1/")


def test_page_refuses_other_methods(idle_mock_url):
    response = requests.post(f"{idle_mock_url}/inbox.js", timeout=5)
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD")
    assert requests.head(f"{idle_mock_url}/s/job1/", timeout=5).status_code == 200
