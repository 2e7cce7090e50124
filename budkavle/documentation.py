"""The location of the documentation."""

from pathlib import Path

_HERE = Path(__file__).parent


def find_docs_dir() -> Path:
    """Return the folder of the documentation: within the installed package, or next to it in the repository."""
    packaged = _HERE / "docs"
    return packaged if packaged.is_dir() else _HERE.parent / "docs"


def list_documentation(*names: str) -> str:
    """Return the last lines of a command's help: the paths of files of the documentation on this machine."""
    # `\b` keeps the lines as they are.
    return "\n".join(["\b", "See:", *(f"  {find_docs_dir() / name}" for name in names)])
