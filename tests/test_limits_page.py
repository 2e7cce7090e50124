"""The page of limits: each row names a setting with its default, and a test that exceeds it."""

import re

import pytest

from budkavle.settings import Settings
from openapi.server.protocol import MAX_HEAD_BYTES
from openapi.server.serving import TLS_HANDSHAKE_SECONDS
from tests.processes import REPOSITORY

PAGE = (REPOSITORY / "docs" / "reference" / "limits.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]
SETTINGS = {row[1].strip("`"): row[2] for row in ROWS if row[1].startswith("`BUDKAVLE_")}
LIMITS = (
    "head_timeout",
    "body_timeout",
    "idle_timeout",
    "reader_timeout",
    "max_connections",
    "body_bytes",
    "body_queue_timeout",
)


@pytest.mark.parametrize("name", LIMITS)
def test_page_shows_each_limit_with_its_default(name: str) -> None:
    assert SETTINGS[f"BUDKAVLE_{name.upper()}"] == str(Settings.model_fields[name].default)


def test_page_shows_the_limits_without_a_setting() -> None:
    assert ["time for the TLS handshake", "", str(TLS_HANDSHAKE_SECONDS)] in [row[:3] for row in ROWS]
    assert f"| {MAX_HEAD_BYTES // 1024} KiB |" in PAGE


def test_each_row_names_a_test_that_exists() -> None:
    folders = ("tests", "contract_tests")
    texts = "".join(path.read_text() for folder in folders for path in (REPOSITORY / folder).rglob("test_*.py"))
    names = re.findall(r"`(test_\w+)` \|$", PAGE, re.MULTILINE)
    assert len(names) >= len(SETTINGS) + 4
    assert [name for name in names if f"def {name}(" not in texts] == []
