"""The pages about the receiver check show commands that work, and all options, suites and files."""

import re
from pathlib import Path

import pytest

from budkavle.commands.receiver_check import SUITES as CHOICES
from budkavle.commands.receiver_check import receiver_check
from receiver_tests.cases import SUITES
from tests.processes import REPOSITORY, run_program
from tests.receiver_tests.right_receiver import RightReceiver, serving
from tests.shown_commands import read_block
from tests.warm_commands import build_shell_command

REFERENCE = "docs/reference/receiver-check.md"
TEXT = (REPOSITORY / REFERENCE).read_text()


@pytest.mark.parametrize(
    ("page", "beginning"), [(REFERENCE, "WEBHOOK_SECRET="), ("docs/how-to/receive-webhooks.md", "export")]
)
def test_shown_command_works(page: str, beginning: str, tmp_path: Path) -> None:
    with serving(RightReceiver()) as url:
        script = read_block(page, beginning).replace("http://127.0.0.1:8090/star/webhook", url)
        result = run_program(*build_shell_command(script), folder=tmp_path)
    assert result.returncode == 0
    # The page shows the same suites and numbers of checks.
    shown = re.findall(r"^\w+: +\d+ checks", result.stdout, re.MULTILINE)
    assert len(shown) == len(SUITES)
    assert all(line in TEXT for line in shown)
    files = {path.name for path in (tmp_path / "receiver-report").iterdir()}
    assert files == set(re.findall(r"[a-z]+\.(?:html|xml|txt|sh)", TEXT.rsplit("| file in ", 1)[1]))


def test_page_names_every_option_and_suite() -> None:
    section = TEXT.split("\n## Options\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(--[a-z-]+|URL)`", section, re.MULTILINE)
    assert rows == [p.opts[0] if p.opts[0].startswith("--") else "URL" for p in receiver_check.params]
    assert (
        tuple(re.findall(r"^\| `([a-z]+)` \|", TEXT.split("\n## Suites\n")[1], re.MULTILINE))
        == tuple(SUITES)
        == CHOICES
    )
