"""Completion in the shell, as the guide sets it up."""

import subprocess
from pathlib import Path

import pytest

from tests.processes import REPOSITORY
from tests.shown_commands import PATH, read_blocks

PAGE = REPOSITORY / "docs" / "how-to" / "command-line.md"

COMPLETE = """
{block}
export BUDKAVLE_UNKNOWN=x BUDKAVLE_DATABASE_URLL=y
COMP_WORDS=({words}) COMP_CWORD={number} COMPREPLY=()
_budkavle_completion budkavle
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def read_setup(shell: str) -> str:
    (text,) = [block.text for block in read_blocks(PAGE) if f"{shell}_source" in block.text]
    return text.strip()


def test_documented_bash_completion_yields_commands_options_and_values(tmp_path: Path) -> None:
    """Three completions in one shell. Misspelt settings, which stop a command, do not disturb it."""
    lines = [("budkavle deliv", 1), ("budkavle deliveries drop --rea", 3), ("budkavle deliveries drop --state ''", 4)]
    script = "\n".join(COMPLETE.format(block=read_setup("bash"), words=words, number=number) for words, number in lines)
    result = subprocess.run(
        ["/bin/bash", "--noprofile", "--norc", "-c", script],
        env={"PATH": PATH, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""
    assert result.stdout.split() == ["deliveries", "--reason", "waiting", "parked"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_documented_completion_of_other_shells_is_a_script_that_asks_for_completions(shell: str) -> None:
    assert f"_BUDKAVLE_COMPLETE={shell}_source budkavle" in read_setup(shell)
    script = complete(f"{shell}_source", "", 0)
    assert f"_BUDKAVLE_COMPLETE={shell}_complete" in script
    words = "deliveries" if shell == "fish" else "1"
    assert "replay" in complete(f"{shell}_complete", "budkavle deliveries ", words)


def complete(instruction: str, words: str, position: object) -> str:
    environment = {"_BUDKAVLE_COMPLETE": instruction, "COMP_WORDS": words, "COMP_CWORD": str(position), "PATH": PATH}
    result = subprocess.run(["budkavle"], env=environment, capture_output=True, text=True, check=True)
    assert result.stderr == ""
    return result.stdout
