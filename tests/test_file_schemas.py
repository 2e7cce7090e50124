"""The JSON Schemas of files for editors accept and reject what the programs do."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from budkavle.catalogue.file import read_catalogue
from budkavle.issuers_file import read_issuers
from mock_open_e.server.scenario_file import read_scenario
from openapi.yaml_nodes import FileWrong
from tests.processes import REPOSITORY

DOCS = REPOSITORY / "docs"
SCHEMAS = DOCS / "reference" / "schemas"


@dataclass(frozen=True)
class File:
    """A kind of file: its schema, a valid example with every key, and the function that reads it."""

    schema: str
    example: Path | str
    read: Callable[[Path], object]

    def load_schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = json.loads((SCHEMAS / f"{self.schema}.schema.json").read_text())
        return schema

    def load_example(self) -> Any:
        return load_yaml(self.example if isinstance(self.example, str) else self.example.read_text())


def read_block_of_issuers() -> str:
    page = (DOCS / "reference" / "issuers.md").read_text()
    found = re.search("```yaml\n(.*?)```", page, re.DOTALL)
    assert found is not None
    return found[1]


FILES = {
    "catalogue": File("catalogue", DOCS / "catalogue.example.yaml", read_catalogue),
    "scenario": File("mock-open-e", DOCS / "mock-open-e.example.yaml", read_scenario),
    "issuers": File("issuers", read_block_of_issuers(), read_issuers),
}


class PlainLoader(yaml.SafeLoader):
    """Loads dates as text, as JSON and editors do."""


PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_yaml(text: str) -> Any:
    return yaml.load(text, PlainLoader)  # It is a subclass of the safe loader.


BEYOND = [
    "is not among the",
    "is a duplicate of line",
    "is a duplicate",
    "is before startDato",
    "cannot be read",
    "is reserved",
    "remove one of them",
    "is not an IANA time zone",
    "is not a time zone",
    "has no key for",
    "which is never called",
    "private address",
]
"""What only the programs check: references to other parts of the file, duplicates, other files, and tables of names."""

COMMON: list[Any] = [None, True, -2, "7", [], {}]
OF_TEXTS: list[Any] = [
    " ", "a b", "a\nb", "file:", "file:x", "env:A", "hunter2", "2024-02-28", "https://a.example/b", "http://a.example",
    "https://u@a.example", "sha256:0a", "publish:8:101", ["x"],
]  # fmt: skip
OF_OTHERS: list[Any] = [1.5, 2**31, "external", [{}], {"X": "env:A"}]


def mutate(document: Any) -> Iterator[Any]:
    """Yield the document with one value replaced, one key left out, or one key added, for each value and key.

    The first entry of a list with a key represents all entries.
    """
    kinds = {
        tuple(0 if isinstance(key, int) else key for key in path): path for path in reversed([*list_paths(document)])
    }
    for path in kinds.values():
        for value in COMMON + (OF_TEXTS if isinstance(follow(document, path), str) else OF_OTHERS):
            changed = copy.deepcopy(document)
            if not path:
                yield value
                continue
            parent = follow(changed, path[:-1])
            parent[path[-1]] = value
            yield changed
        changed = copy.deepcopy(document)
        target = follow(changed, path)
        if isinstance(target, dict):
            target["unknown"] = 1
            yield changed
        if path and isinstance(path[-1], str):
            changed = copy.deepcopy(document)
            del follow(changed, path[:-1])[path[-1]]
            yield changed


def list_paths(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    if isinstance(node, dict):
        for key, value in node.items():
            yield from list_paths(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from list_paths(value, (*path, index))


def follow(node: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        node = node[key]
    return node


def find_faults(file: File, path: Path, document: Any) -> list[str]:
    path.write_text(yaml.dump(document, Dumper=yaml.CSafeDumper, allow_unicode=True, width=10_000))
    try:
        file.read(path)
    except FileWrong as exc:
        return str(exc).splitlines()[1:]
    return []


@pytest.mark.parametrize("name", FILES)
def test_schema_is_valid_and_describes_every_key(name: str) -> None:
    schema = FILES[name].load_schema()
    jsonschema_rs.meta.validate(schema)
    for each in list_schemas(schema):
        if "properties" in each and each.get("type"):
            assert each["additionalProperties"] is False or "additionalProperties" in each
            assert all("description" in value for value in each["properties"].values()), each


def list_schemas(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from list_schemas(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from list_schemas(value)


@pytest.mark.parametrize("name", ["catalogue", "scenario"])
def test_example_names_its_schema_for_editors(name: str) -> None:
    path = FILES[name].example
    assert isinstance(path, Path)
    found = re.match("# yaml-language-server: [$]schema=(.*)\n", path.read_text())
    assert found is not None
    assert (path.parent / found[1]).samefile(SCHEMAS / f"{FILES[name].schema}.schema.json")


@pytest.mark.parametrize("name", FILES)
def test_schema_accepts_the_example(name: str) -> None:
    file = FILES[name]
    jsonschema_rs.Draft7Validator(file.load_schema()).validate(file.load_example())


@pytest.mark.parametrize("name", FILES)
def test_schema_and_reader_agree_on_every_change_of_the_example(name: str, tmp_path: Path) -> None:
    file = FILES[name]
    validator = jsonschema_rs.Draft7Validator(file.load_schema())
    differences: list[str] = []
    count = 0
    for document in mutate(file.load_example()):
        faults = find_faults(file, tmp_path / "file.yaml", document)
        checked = [fault for fault in faults if not any(text in fault for text in BEYOND)]
        is_valid = validator.is_valid(document)
        count += 1
        if (is_valid and checked) or not (is_valid or faults):
            why = "; ".join(f"{error.instance_path}: {error.message}" for error in validator.iter_errors(document))
            differences.append(f"reader: {faults}; schema: {why}")
    assert count > 250
    assert differences == []
