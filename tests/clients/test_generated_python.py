"""openapi-python-client generates complete clients from the contracts, with types that detect mistakes."""

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import inflection
import pytest

from tests.clients.generating import Generated, run_generator
from tests.processes import REPOSITORY

CONTRACTS = sorted(path.stem for path in (REPOSITORY / "spec").glob("*.yaml"))
MISTAKES = REPOSITORY / "tests" / "clients" / "mistakes.py"
CACHE = REPOSITORY / "build" / "mypy-of-clients"
"""What mypy found in modules that have not changed since."""
SECONDS = 120

Generate = Callable[[str], Generated]


@pytest.mark.parametrize("contract", CONTRACTS)
def test_generator_has_no_warnings_for_a_contract(contract: str, generate: Generate) -> None:
    """The generator warns about unsupported constructs, and then omits them."""
    output = " ".join(generate(contract).output.split())
    assert output.startswith("Generating ")
    assert "arning" not in output


def test_generator_warns_of_an_omitted_response(tmp_path: Path) -> None:
    spec = (REPOSITORY / "spec" / "operations.yaml").read_text()
    changed = tmp_path / "operations.yaml"
    changed.write_text(spec.replace("            text/plain:\n", "            '*/*':\n"))
    with pytest.raises(AssertionError, match="Cannot parse response"):
        run_generator(changed, tmp_path / "client")


@pytest.mark.parametrize("contract", CONTRACTS)
def test_no_schema_of_an_object_or_of_choices_is_omitted(contract: str, generate: Generate) -> None:
    """Without a warning, a schema with `anyOf` next to its properties would be omitted, or lose its properties."""
    generated = generate(contract)
    for name, schema in generated.spec["components"]["schemas"].items():
        if "properties" in schema or "enum" in schema:
            model = getattr(generated.models, schema.get("title", name))
            fields = set(inspect.signature(model).parameters)
            expected = {derive_generated_name(field) for field in schema.get("properties", {})}
            assert expected <= fields, name


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_argument_has_a_type(contract: str, generate: Generate) -> None:
    generated = generate(contract)
    for operation_id in generated.operations():
        signature = inspect.signature(generated.operation(operation_id).sync_detailed)
        assert [name for name, parameter in signature.parameters.items() if parameter.annotation in {"Any", None}] == []
        assert "Any" not in str(signature.parameters.get("body", ""))


def test_types_are_strict_and_detect_mistakes(generate: Generate, tmp_path: Path) -> None:
    """If mypy does not detect a mistake, its `type: ignore` is unused, which is an error."""
    packages = [generate(contract).package for contract in CONTRACTS]
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", str(CACHE)]
    result = subprocess.run(
        [*command, *map(str, packages), str(MISTAKES)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, "MYPYPATH": os.pathsep.join(str(package.parent) for package in packages)},
    )
    assert result.returncode == 0, result.stdout + result.stderr


def derive_generated_name(name: str) -> str:
    """Return the generated name of a property: snake case, separated digits, an underscore after Python keywords."""
    return {"type": "type_", "base64Data": "base_64_data"}.get(name, inflection.underscore(name))
