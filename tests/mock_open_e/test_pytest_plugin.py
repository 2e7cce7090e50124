"""The plugin that provides the mock as fixtures."""

import re
import subprocess
import sys

import pytest
import requests

from mock_open_e import MockOpenE
from tests.mock_open_e.soap import UTF8, add_message

URL = "http://open-e.test/external/api/callback"


def test_fixture_is_a_separate_mock(open_e_mock):
    assert isinstance(open_e_mock, MockOpenE)
    assert requests.post(URL, add_message(), headers={"Content-Type": UTF8}, timeout=5).status_code == 200
    assert [each["messageID"] for each in open_e_mock.messages] == [1]


@pytest.mark.open_e_mock(cases={7}, username="u")
def test_marker_sets_the_options_of_the_mock(open_e_mock):
    assert open_e_mock.scenario.cases[0].number == 7
    assert requests.get(f"{URL}?wsdl", timeout=5).status_code == 401


def test_plugin_imports_the_mock_only_when_it_is_used():
    code = (
        "import mock_open_e.pytest_plugin, sys; "
        "print({'lxml', 'responses', 'requests', 'mock_open_e.behaviour'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "set()"


INVALID_MARKERS = {
    "{1068}": "does not accept {1068}; its keyword arguments are url_external, url_internal, cases, ",
    "1068, strict=True": "does not accept 1068; its keyword arguments are",
    "case=1068": "does not accept case=…; its keyword arguments are",
    "{1068}, case=1, stricter=2": "does not accept {1068}, case=…, stricter=…; its keyword arguments are",
    "cases='1068', strict=1": "invalid options of the mock Open-E: cases must be ",
    "password='p'": "password requires username",
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the report of a test with each invalid marker, all from one run of pytest."""
    folder = tmp_path_factory.mktemp("invalid_markers")
    tests = "".join(
        f"@pytest.mark.open_e_mock({marker})\ndef test_{number}(open_e_mock): pass\n"
        for number, marker in enumerate(INVALID_MARKERS)
    )
    (folder / "test_it.py").write_text(
        f"import pytest\nfrom mock_open_e.pytest_plugin import open_e_mock\n{tests}", encoding="utf-8"
    )
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{len(INVALID_MARKERS)} errors" in result.stdout
    _, *parts = re.split(r"^_+ ERROR at setup of test_\d+ _+$", result.stdout, flags=re.MULTILINE)
    return dict(zip(INVALID_MARKERS, parts, strict=True))


@pytest.mark.parametrize("marker", INVALID_MARKERS)
def test_invalid_marker_is_an_error_with_the_accepted_options(reports, marker):
    assert INVALID_MARKERS[marker] in reports[marker].partition("short test summary")[0]
