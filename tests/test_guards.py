"""Guards that read the repository."""

import inspect
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import inflection
import pytest
from openapi_schema_validator import OAS30Validator, oas30_format_checker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

import handlers.contracts
from domain.callers import MESSAGES_READ, MESSAGES_WRITE, PUBLISH
from mock_open_e.server import control_application
from openapi.application import read_spec
from tests.processes import REPOSITORY

SPECS: dict[str, dict[str, Any]] = {
    path.stem: read_spec(path.parent, path.stem) for path in sorted((REPOSITORY / "spec").glob("*.yaml"))
}
PACKAGES = (
    "budkavle",
    "handlers",
    "openapi",
    "domain",
    "persistence",
    "oauth2",
    "open_e",
    "party_service",
    "delivery",
    "mock_open_e",
    "receiver_tests",
)
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}

ERRORS = {
    "operations": "Problem",
    "web-messages": "Problem",
    "web-messages-3.2": "Problem",
    "oep-integrator-1.5": "Problem",
    "subscriptions": "Errors",
    "mock-open-e": "Errors",
}
"""The schema of the errors of each contract."""

OWN_ERRORS = {("hentBeskedstatus", "404"): "EventErrors"}
"""The schemas of errors with codes that published operations do not have."""

CONTRACTS = {**handlers.contracts.CONTRACTS, "mock-open-e": control_application.CONTRACT}
"""The contract configuration of each contract."""

REQUEST_ID = {
    "operations": "x-request-id",
    "web-messages": "x-request-id",
    "web-messages-3.2": "x-request-id",
    "oep-integrator-1.5": "x-request-id",
    "subscriptions": "x-requestid",
    "mock-open-e": "x-request-id",
}
"""The header of the request id in each contract, in lower case."""

NOT_OF_A_MODULE = {
    "tests/budkavle/test_crash.py": "kills the whole service",
    "tests/budkavle/test_logs.py": "reads the logs of the whole service",
    "tests/budkavle/test_shown_commands.py": "runs what the documentation shows",
    "tests/budkavle/test_wheel.py": "installs all packages",
}
"""Tests of a package that have no module's name, each with the reason."""


def iterate_operations() -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    for name, spec in SPECS.items():
        for path, methods in spec["paths"].items():
            for method, operation in methods.items():
                if method in METHODS:
                    yield name, path, method, operation


OPERATIONS = {operation["operationId"]: (name, operation) for name, _, _, operation in iterate_operations()}
SERVED = {id_: (name, operation) for id_, (name, operation) in OPERATIONS.items() if not SPECS[name].get("x-outgoing")}
"""The operations that our programs serve. The others are those of receivers, which our programs call."""


def resolve_reference(spec: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        target: Any = spec
        for name in node["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        node = target
    return node


@pytest.mark.parametrize("operation_id", SERVED)
def test_each_operation_has_a_handler(operation_id: str) -> None:
    name, _ = SERVED[operation_id]
    found = [
        handler
        for module in CONTRACTS[name].modules
        if (handler := getattr(module, inflection.underscore(operation_id), None)) is not None
    ]
    (handler,) = found
    assert inspect.iscoroutinefunction(handler)
    assert handler.__doc__


def test_contract_without_handlers_is_outgoing() -> None:
    assert SPECS.keys() - CONTRACTS.keys() == {name for name, spec in SPECS.items() if spec.get("x-outgoing")}
    assert SPECS.keys() - CONTRACTS.keys() == set().union(*handlers.contracts.DESCRIBED.values())


@pytest.mark.parametrize("name", CONTRACTS)
def test_each_contract_has_a_handler_for_nothing_else(name: str) -> None:
    public = {
        member.__name__
        for module in CONTRACTS[name].modules
        for _, member in inspect.getmembers(module, inspect.iscoroutinefunction)
        if not member.__name__.startswith("_") and member.__module__ == module.__name__
    }
    expected = {inflection.underscore(operation_id) for operation_id, (spec, _) in SERVED.items() if spec == name}
    assert public == expected


@pytest.mark.parametrize("operation_id", SERVED)
def test_each_operation_declares_its_security(operation_id: str) -> None:
    name, operation = SERVED[operation_id]
    security = operation.get("security", SPECS[name].get("security"))
    assert isinstance(security, list), f"{operation_id} says nothing of who may call it"
    schemes = SPECS[name]["components"].get("securitySchemes", {})
    for requirement in security:
        assert requirement, f"{operation_id}: an empty requirement lets everybody in; say `security: []`"
        # A certificate authorises for systems, a key has scopes.
        if all(schemes[scheme].get("name") != "Client-Cert" for scheme in requirement):
            assert operation["x-scope"] in {MESSAGES_READ, MESSAGES_WRITE, PUBLISH}


def test_only_operations_without_data_are_open_to_all() -> None:
    open_to_all = {
        operation_id
        for operation_id, (name, operation) in SERVED.items()
        # The mock, which serves its own contract, contains no personal data.
        if name != "mock-open-e" and not operation.get("security", SPECS[name].get("security"))
    }
    assert open_to_all == {"getHealthLive", "getHealthReady", "getMetrics", "getProtectedResource", "getApiDocs"}


def test_operation_ids_are_unique() -> None:
    """Connexion keys security by operation id: with a duplicate, one operation responds without authentication."""
    counts = Counter(operation["operationId"] for _, _, _, operation in iterate_operations())
    assert [operation_id for operation_id, count in counts.items() if count > 1] == []


def test_paths_are_unique() -> None:
    counts = Counter(re.sub(r"\{[^}]*\}", "{}", path) for spec in SPECS.values() for path in spec["paths"])
    assert [path for path, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("operation_id", SERVED)
def test_all_errors_have_one_schema(operation_id: str) -> None:
    name, operation = SERVED[operation_id]
    for status, response in operation["responses"].items():
        if status == "503" or status < "400":
            continue
        content = resolve_reference(SPECS[name], response)["content"]
        for media_type in content.values():
            schema = OWN_ERRORS.get((operation_id, status), ERRORS[name])
            assert media_type["schema"] == {"$ref": f"#/components/schemas/{schema}"}, status


def test_own_errors_have_the_form_of_all_errors() -> None:
    """A program that parses the errors of one operation can parse those of all."""
    schemas = SPECS["subscriptions"]["components"]["schemas"]

    def omit_words(schema: dict[str, Any]) -> dict[str, Any]:
        names = {
            name: {key: value for key, value in words.items() if key not in {"description", "enum"}}
            for name, words in schema["properties"].items()
        }
        return {"required": schema["required"], "additionalProperties": False, "properties": names}

    for each in OWN_ERRORS.values():
        (own,), (common,) = (
            [
                resolve_reference(SPECS["subscriptions"], list_["items"])
                for list_ in schemas[name]["properties"].values()
            ]
            for name in (each, "Errors")
        )
        assert omit_words(own) == omit_words(common)


@pytest.mark.parametrize("operation_id", SERVED)
def test_every_response_has_the_request_id(operation_id: str) -> None:
    name, operation = SERVED[operation_id]
    for status, response in operation["responses"].items():
        headers = {header.lower() for header in resolve_reference(SPECS[name], response).get("headers", {})}
        assert REQUEST_ID[name] in headers, status


def create_validator(name: str, pointer: str) -> OAS30Validator:
    """Return a validator for the schema at a JSON pointer of a contract."""
    resource = Resource.from_contents(SPECS[name], default_specification=DRAFT4)
    registry = Registry().with_resource("urn:spec", resource)
    return OAS30Validator({"$ref": f"urn:spec#{pointer}"}, registry=registry, format_checker=oas30_format_checker)


def iterate_examples(node: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the examples in a part of a contract, each with the pointer of its schema."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from iterate_examples(item, f"{pointer}/{index}")
    if not isinstance(node, dict):
        return
    if "schema" in node:
        if "example" in node:
            yield f"{pointer}/schema", node["example"]
        for example in node.get("examples", {}).values():
            yield f"{pointer}/schema", example["value"]
    elif "example" in node and "properties" not in pointer.rsplit("/", 1)[-1:]:
        yield pointer, node["example"]
    for key, value in node.items():
        if key not in {"example", "examples"}:
            yield from iterate_examples(value, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}")


@pytest.mark.parametrize("name", SPECS)
def test_every_example_fits_its_schema(name: str) -> None:
    found = list(iterate_examples(SPECS[name]))
    assert len(found) >= 5
    for pointer, example in found:
        errors = [error.message for error in create_validator(name, pointer).iter_errors(example)]
        assert errors == [], f"{pointer}: {example!r}"


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_each_operation_has_an_example(operation_id: str) -> None:
    name, operation = OPERATIONS[operation_id]
    for parameter in (resolve_reference(SPECS[name], node) for node in operation.get("parameters", [])):
        assert "example" in parameter, parameter["name"]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        assert content.get("examples") or "example" in content


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_each_body_documents_its_limit(operation_id: str) -> None:
    _, operation = OPERATIONS[operation_id]
    if "requestBody" in operation:
        assert operation["requestBody"]["x-max-bytes"] > 0


def list_python_files(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.py"))]
    return [path for path in found if not {"node_modules", "__pycache__"} & set(path.parts)]


def to_relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def list_modules(folder: Path) -> set[str]:
    """Return the names of the modules and packages in a folder."""
    names = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    return names - {"__init__", "__main__"}


@pytest.mark.parametrize("package", PACKAGES)
def test_each_test_of_a_package_is_named_after_a_module(package: str) -> None:
    """The folders of `tests/` are those of the packages; a test may also have the name of the folder."""
    for path in list_python_files(f"tests/{package}"):
        if not path.name.startswith("test_") or to_relative(path) in NOT_OF_A_MODULE:
            continue
        folder = REPOSITORY / path.parent.relative_to(REPOSITORY / "tests")
        name = path.stem.removeprefix("test_")
        modules = {*list_modules(folder), folder.name}
        assert any(name == module or name.startswith(f"{module}_") for module in modules), to_relative(path)


FLOORS = ("spec", "handlers", "domain", "persistence", "budkavle/commands", "budkavle/demo")
"""The packages in which a noun of the service has a file."""


def list_floor_files(floor: str) -> set[str]:
    """Return the names of the modules of a floor and of all folders in it."""
    if floor == "spec":
        return {name.replace("-", "_") for name in SPECS}
    root = REPOSITORY / floor
    return set().union(*(list_modules(path) for path in (root, *root.rglob("*")) if path.is_dir()))


def find_other_names(noun: str, files: Collection[str]) -> list[str]:
    """Return the files that are named after a noun in another way: singular, plural, joined, or its last word alone."""
    same = {inflection.singularize(noun).replace("_", ""), inflection.singularize(noun.rpartition("_")[2])}
    return sorted(file for file in files if file != noun and inflection.singularize(file).replace("_", "") in same)


def test_noun_has_one_file_name_on_every_floor() -> None:
    floors = {floor: list_floor_files(floor) for floor in FLOORS}
    nouns = {noun for noun in floors["domain"] if sum(noun in files for files in floors.values()) > 1}
    assert nouns >= {"web_messages", "subscriptions", "deliveries", "events", "api_keys", "audit", "catalogue"}
    found = {(floor, noun): find_other_names(noun, files) for floor, files in floors.items() for noun in nouns}
    assert {place: names for place, names in found.items() if names} == {}


def test_noun_of_each_operation_is_in_the_domain() -> None:
    nouns = {
        module.__name__.rpartition(".")[2]
        for contract in handlers.contracts.CONTRACTS.values()
        for module in contract.modules
    }
    # Health and metrics belong to the process.
    assert nouns - list_floor_files("domain") == {"operations"}


def test_other_names_of_a_noun_are_found() -> None:
    files = {"web_message", "webmessages", "messages", "message", "web_messages", "web_message_rows", "page"}
    assert find_other_names("web_messages", files) == ["message", "messages", "web_message", "webmessages"]


def find_line(pattern: re.Pattern[str], text: str) -> str | None:
    """Return the first line with a match, and its number. Whole texts are searched twice as fast as their lines."""
    match = pattern.search(text)
    if match is None:
        return None
    number = text.count("\n", 0, match.start())
    line = text.split("\n")[number]
    return f"{number + 1}: {line.strip()[:200]}"


def test_tests_neither_sleep_nor_replace_our_functions() -> None:
    forbidden = re.compile(r"\btime\.sleep|from time import .*sleep|\bmock\.patch|MagicMock|mocker\.|@patch")
    for path in [REPOSITORY / "conftest.py", *list_python_files("tests", "contract_tests")]:
        if path == Path(__file__):
            continue
        assert find_line(forbidden, path.read_text()) is None, to_relative(path)


def test_every_suppressed_check_has_a_reason() -> None:
    """`noqa`, `type: ignore` and `fmt` have a reason on the line, and name a rule."""
    for path in list_python_files(*PACKAGES):
        for rest in re.findall("(?:# noqa|# type: ignore)(?=(.*))", path.read_text()):
            where = f"{to_relative(path)}: {rest}"
            assert rest.startswith((":", "[")), where
            assert len(re.findall(r"[a-zA-Z]+", rest)) >= 4, where


def list_committed_files() -> list[Path]:
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("this is no clone, or git is missing")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True)
    return [REPOSITORY / name for name in result.stdout.decode().split("\0") if name]


def test_no_line_contains_a_machine_path_or_a_package_registry() -> None:
    # The names are concatenated, so that these lines do not match themselves.
    paths = ("home/[a-z]+", "Us" + "ers/[A-Za-z]+", "ro" + "ot", "wo" + "rk")
    hosts = [
        "py" + r"pi\.org",
        "files.python" + "hosted",
        "registry.npm" + "js",
        "npm" + r"js\.org",
        r"index-url [^-\n]*http",
    ]
    # A pattern is fast if it begins with a character.
    patterns = (re.compile(rf"/(?<![\w.]/)(?:{'|'.join(paths)})/"), re.compile("|".join(hosts)))
    for path in list_committed_files():
        if not path.is_file():
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for forbidden in patterns:
            assert find_line(forbidden, text) is None, to_relative(path)


def test_decisions_are_numbered_without_gaps() -> None:
    names = sorted(path.name for path in (REPOSITORY / "docs" / "decisions").glob("[0-9]*.md"))
    numbers = [int(name[:4]) for name in names]
    assert [name[:5] for name in names] == [f"{number:04}-" for number in dict.fromkeys(numbers)]
    assert set(numbers) == set(range(1, max(numbers) + 1))


def test_form_accepts_the_properties_of_the_json_body() -> None:
    schemas = read_spec(REPOSITORY / "spec", "web-messages")["components"]["schemas"]
    properties = dict(schemas["CreateWebMessageRequest"]["properties"])
    # A form has the files in parts of their own.
    del properties["attachments"]
    assert schemas["CreateWebMessagePart"]["properties"] == properties, "CreateWebMessagePart in spec/web-messages.yaml"


def test_reference_names_a_test_for_each_behaviour_of_the_mock() -> None:
    """Each row of `How faithful` describes the mock's behaviour and names its test, or says that it is not imitated."""
    page = (REPOSITORY / "docs" / "reference" / "mock-open-e.md").read_text()
    section = page.split("| request | mock | test |\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    tests = "".join(path.read_text() for path in (REPOSITORY / "tests" / "mock_open_e").rglob("test_*.py"))
    assert len(rows) >= 45
    for behaviour, how, *names in rows:
        if how.strip() == "not":
            continue
        words = ("exactly", "as ", "names and addresses", "its contents")
        assert how.strip().startswith(words), f"{behaviour}: the second column begins with one of {words}"
        (name,) = names
        assert f"def {name.strip().strip('`')}(" in tests, f"{behaviour}: no test in tests/mock_open_e has this name"


def test_contracts_contain_no_names_of_the_program() -> None:
    for path in (REPOSITORY / "spec").glob("*.yaml"):
        assert not re.search(r"x-openapi-router-controller|\b(handlers|mock_open_e|openapi)\.\w", path.read_text()), (
            path
        )


def test_each_broken_server_names_a_check_that_exists() -> None:
    """A renamed rule must be renamed in the breakages: their tests run one rule by its name."""
    found = [
        named
        for path in (REPOSITORY / "tests" / "contract_tests").glob("breakages*.py")
        for named in re.findall(r'"(test_\w+\.py)::(test_\w+)"', path.read_text())
    ]
    assert len(found) >= 101
    rules = {
        (path.name, name)
        for folder in ("rules", "raw_bytes")
        for path in (REPOSITORY / "contract_tests" / folder).glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE)
    }
    assert set(found) - rules == set()
