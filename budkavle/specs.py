"""Where the contracts are."""

from pathlib import Path

_HERE = Path(__file__).parent


def spec_dir() -> Path:
    """Where the contracts are: within the package when it is installed, beside it in the repository."""
    packaged = _HERE / "spec"
    return packaged if packaged.is_dir() else _HERE.parent / "spec"
