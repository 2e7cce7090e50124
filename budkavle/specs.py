"""The location of the contracts."""

from pathlib import Path

_HERE = Path(__file__).parent


def find_spec_dir() -> Path:
    """Return the folder of the contracts: within the installed package, or next to it in the repository."""
    packaged = _HERE / "spec"
    return packaged if packaged.is_dir() else _HERE.parent / "spec"
