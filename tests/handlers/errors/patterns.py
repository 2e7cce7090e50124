"""Find the values of requests that a pattern restricts."""

from collections.abc import Iterator
from typing import Any

from budkavle.specs import find_spec_dir
from openapi.application import read_spec

Path = list[str | int]


def find_paths_with_a_pattern(contract: str) -> dict[str, Path]:
    """Return the paths of all parameters and properties of JSON bodies that have a pattern, by their names."""
    spec = read_spec(find_spec_dir(), contract)
    found: list[Path] = []
    for operation in (operation for path in spec["paths"].values() for operation in path.values()):
        parameters = (_resolve(spec, parameter) for parameter in operation["parameters"])
        found += [[parameter["name"]] for parameter in parameters if "pattern" in _resolve(spec, parameter["schema"])]
        if "requestBody" in operation:
            found += _find_paths(spec, operation["requestBody"]["content"]["application/json"]["schema"], [])
    return {".".join(map(str, path)): path for path in found}


def _find_paths(spec: Any, schema: Any, path: Path) -> Iterator[Path]:
    schema = _resolve(spec, schema)
    if "pattern" in schema:
        yield path
    for name, value in schema.get("properties", {}).items():
        yield from _find_paths(spec, value, [*path, name])
    if "items" in schema:
        yield from _find_paths(spec, schema["items"], [*path, 0])


def _resolve(spec: Any, value: Any) -> Any:
    if "$ref" not in value:
        return value
    for part in value["$ref"].removeprefix("#/").split("/"):
        spec = spec[part]
    return spec
