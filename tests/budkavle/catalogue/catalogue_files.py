"""Build catalogue files for tests, and list their faults."""

from pathlib import Path

import pytest

from budkavle.catalogue.file import read_catalogue
from openapi.yaml_nodes import FileWrong
from tests.catalogues import FINGERPRINT, SYSTEM_ID

SYSTEM = f"""systems:
  - systemIdentifier: {SYSTEM_ID}
    name: Fasit
    baseUrl: https://fasit.example/star
    certificates: ["sha256:{FINGERPRINT}"]
"""
REST = """messageTypes: []
allowedSubscriptions: []
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "catalogue.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def find_faults(folder: Path, text: str | bytes) -> list[str]:
    """Return the faults of a file as `LINE: TEXT`."""
    path = write(folder, text)
    with pytest.raises(FileWrong) as caught:
        read_catalogue(path)
    first, *lines = str(caught.value).splitlines()
    assert first == "the catalogue is invalid; nothing was applied"
    assert all(line.startswith(f"{path}:") for line in lines), lines
    return [line.removeprefix(f"{path}:") for line in lines]
