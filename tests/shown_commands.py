"""The commands that the documentation shows, for the tests that run them."""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.processes import REPOSITORY

PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
FENCE = re.compile(r"^( *)```(.*?)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
"""Where a shell finds `budkavle`, as in an installation."""

_PIPELINE = re.compile(r"^ *(?:- )?(?:run|script):", re.MULTILINE)
_INLINE = re.compile(r"`((?:\.venv/bin/)?(?:budkavle|make|pip|pre-commit|promtool|python)\b [^`]+)`")


@dataclass(frozen=True)
class Block:
    """A code block of a page."""

    page: str
    language: str
    text: str

    @property
    def has_commands(self) -> bool:
        """Return whether readers run it, by hand or in a pipeline."""
        is_pipeline = self.language == "yaml" and _PIPELINE.search(self.text) is not None
        return is_pipeline or self.language in {"sh", "bash", "dockerfile"}


def read_prose(path: Path) -> str:
    """Return the text of a page without its code blocks."""
    return FENCE.sub("", path.read_text())


def read_blocks(path: Path) -> list[Block]:
    """Return the code blocks of a page."""
    page = str(path.relative_to(REPOSITORY))
    return [Block(page, match[2], match[3]) for match in FENCE.finditer(path.read_text())]


def read_block(page: str, beginning: str) -> str:
    """Return the text of the only block with commands of a page that begins so."""
    found = [block.text for block in read_blocks(REPOSITORY / page) if block.has_commands]
    (text,) = [text for text in found if text.startswith(beginning)]
    return text


def read_block_in(page: str, language: str) -> str:
    """Return the text of the only block of a page in a language."""
    (text,) = [block.text for block in read_blocks(REPOSITORY / page) if block.language == language]
    return text


def list_commands_in_text(path: Path) -> list[str]:
    """Return the command lines with arguments that a page names outside of its blocks."""
    return _INLINE.findall(read_prose(path))


def list_budkavle_commands(path: Path) -> set[str]:
    """Return the command lines of `budkavle` that a page shows, in blocks and in the text, without comments."""
    text = "\n".join(block.text for block in read_blocks(path)).replace("\\\n", " ")
    lines = re.findall(r"^ *(?:- )?budkavle ([a-z-].*)$", text, re.MULTILINE)
    lines += re.findall(r"`budkavle ([^`]+)`", read_prose(path))
    return {re.split(r"\s+#|\s+&|\s+>|\s+\||;", line)[0].strip() for line in lines} - {"COMMAND"}
