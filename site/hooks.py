"""Hooks of the documentation's site: pages of the repository's root are pages of it, and links follow them.

A page keeps its links as they work in the repository. In the site, `docs/` is the root, and the README the first page.
"""

import re
import unicodedata
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "CHANGELOG.md": "", "CONTRIBUTING.md": "", "SECURITY.md": ""}
"""Pages of the root, with their name in the site if it differs."""

_LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")


def slugify(heading: str, separator: str) -> str:
    """Return the anchor of a heading, as GitHub makes it; the theme's script accepts none that begins with a digit."""
    kept = (char for char in heading.lower() if char in " -_" or unicodedata.category(char)[0] in "LN")
    anchor = "".join(kept).replace(" ", separator)
    return f"n{anchor}" if anchor[:1].isdigit() else anchor


def on_config(config: Any) -> Any:
    """Make the anchors of headings."""
    config.mdx_configs["toc"] = {"permalink": True, "slugify": slugify}
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of the root, the contracts and the files for installations to the files of the site."""
    from properdocs.structure.files import File

    for name, other in PAGES.items():
        files.append(File.generated(config, other or name, abs_src_path=str(ROOT / name)))
    for name in ("site.css", "site.js"):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / "site" / name)))
    for path in sorted([*(ROOT / "spec").iterdir(), *(ROOT / "deploy").glob("*/*")]):
        files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return a page with its relative links as they are in the site."""
    here = PurePosixPath(page.file.src_uri)
    names = {other: name for name, other in PAGES.items() if other}
    in_repository = names.get(str(here), str(here) if str(here) in PAGES else f"docs/{here}")

    def replace(match: re.Match[str]) -> str:
        target = normpath(f"{PurePosixPath(in_repository).parent}/{match[2]}")
        in_site = PAGES.get(target) or target.removeprefix("docs/")
        return f"{match[1]}{relpath(in_site, here.parent)}{match[3]}"

    return _LINK.sub(replace, markdown)
