"""The locations of the contract of the control API and of the documentation."""

from pathlib import Path

_HERE = Path(__file__).parents[1]


def find_spec_dir() -> Path:
    """Return the folder of the contract: within the installed package, or next to it in the repository."""
    return _find_folder("spec")


def find_docs_dir() -> Path:
    """Return the folder of the documentation: within the installed package, or next to it in the repository."""
    return _find_folder("docs")


def _find_folder(name: str) -> Path:
    packaged = _HERE / name
    return packaged if packaged.is_dir() else _HERE.parent / name
