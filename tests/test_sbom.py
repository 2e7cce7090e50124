"""`make sbom` lists exactly the locked requirements."""

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

from tests.processes import REPOSITORY, run_program

MAKEFILE = (REPOSITORY / "Makefile").read_text()
LOCKED = re.compile(r"^([a-z0-9-]+)==([^ ]+)", re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "project", "requirements"),
    [("budkavle", "pyproject.toml", "runtime"), ("mock-open-e", "mock_open_e/pyproject.toml", "mock")],
)
def test_bill_of_materials_has_each_locked_requirement(
    name: str, project: str, requirements: str, tmp_path: Path
) -> None:
    program = Path(sys.prefix) / "sbom/bin/cyclonedx-py"
    if not program.exists():
        pytest.skip("the requirements of `make sbom` are not installed")
    (options,) = re.findall(r"^SBOM := \$\(VENV\)/sbom/bin/cyclonedx-py (.*)$", MAKEFILE, re.MULTILINE)
    (arguments,) = re.findall(rf"^\t\$\(SBOM\) (.*--output-file dist/{name}\.cdx\.json.*)$", MAKEFILE, re.MULTILINE)
    words = arguments.replace("dist/", f"{tmp_path}/").split()
    assert "--validate" in options
    if name == "budkavle":
        # Validating takes seconds, and both documents are written in the same way.
        options = options.replace("--validate", "--no-validate")
    result = run_program(str(program), *options.split(), *words, folder=REPOSITORY)
    assert result.returncode == 0, result.stderr
    written = json.loads((tmp_path / f"{name}.cdx.json").read_text())

    assert (written["bomFormat"], written["specVersion"]) == ("CycloneDX", "1.6")
    root = written["metadata"]["component"]
    assert (root["name"], root["version"]) == (
        name,
        tomllib.loads((REPOSITORY / project).read_text())["project"]["version"],
    )
    locked = LOCKED.findall((REPOSITORY / "requirements" / f"{requirements}.txt").read_text())
    assert len(locked) > 20
    assert {(each["name"], each["version"]) for each in written["components"]} == set(locked)
    assert all(each["purl"].startswith("pkg:pypi/") for each in written["components"])
