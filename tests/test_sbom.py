"""`make sbom` lists exactly the locked requirements, and what the wheels contain of others."""

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

from tests import vendored_components
from tests.processes import REPOSITORY, run_program
from tests.test_swagger_ui import HASHES
from tests.vendored_components import SWAGGER_UI_VERSION

MAKEFILE = (REPOSITORY / "Makefile").read_text()
VALIDATE = """
import pathlib, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(pathlib.Path(sys.argv[1]).read_text()))
"""
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
    # Validating takes seconds; one document is validated below, when it is complete.
    options = options.replace("--validate", "--no-validate")
    result = run_program(str(program), *options.split(), *words, folder=REPOSITORY)
    assert result.returncode == 0, result.stderr
    assert "\t$(BIN)/python -m tests.vendored_components dist/budkavle.cdx.json dist/mock-open-e.cdx.json\n" in MAKEFILE
    vendored_components.add_components(tmp_path / f"{name}.cdx.json")
    # Both documents are written in the same way.
    if name == "mock-open-e":
        check = [str(program.with_name("python")), "-c", VALIDATE, str(tmp_path / f"{name}.cdx.json")]
        assert run_program(*check).stdout == "None\n"
    written = json.loads((tmp_path / f"{name}.cdx.json").read_text())

    assert (written["bomFormat"], written["specVersion"]) == ("CycloneDX", "1.6")
    root = written["metadata"]["component"]
    assert (root["name"], root["version"]) == (
        name,
        tomllib.loads((REPOSITORY / project).read_text())["project"]["version"],
    )
    locked = LOCKED.findall((REPOSITORY / "requirements" / f"{requirements}.txt").read_text())
    assert len(locked) > 20
    *required, swagger_ui = written["components"]
    assert {(each["name"], each["version"]) for each in required} == set(locked)
    assert all(each["purl"].startswith("pkg:pypi/") for each in required)
    assert (swagger_ui["purl"], swagger_ui["licenses"]) == (
        f"pkg:npm/swagger-ui-dist@{SWAGGER_UI_VERSION}",
        [{"license": {"id": "Apache-2.0"}}],
    )
    assert {each["name"]: each["hashes"][0]["content"] for each in swagger_ui["components"]} == HASHES
    assert {"ref": swagger_ui["bom-ref"]} in written["dependencies"]
