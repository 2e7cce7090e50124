"""The plugin that gives a project the mock as a fixture."""

import subprocess
import sys

import pytest
import requests

from open_e.mock import MockOpenE
from tests.open_e.soap import UTF8, add_message

URL = "http://open-e.test/external/api/callback"


def test_the_fixture_is_a_mock_of_its_own(open_e_mock):
    assert isinstance(open_e_mock, MockOpenE)
    assert requests.post(URL, add_message(), headers={"Content-Type": UTF8}, timeout=5).status_code == 200
    assert [each["messageID"] for each in open_e_mock.messages] == [1]


@pytest.mark.open_e_mock(cases={7}, username="u")
def test_the_marker_says_what_it_is_made_with(open_e_mock):
    assert open_e_mock.scenario.cases[0].number == 7
    assert requests.get(f"{URL}?wsdl", timeout=5).status_code == 401


def test_the_plugin_imports_nothing_of_the_mock_until_it_is_asked():
    code = (
        "import open_e.pytest_plugin, sys; print({'lxml', 'responses', 'requests', 'open_e.mock'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"
