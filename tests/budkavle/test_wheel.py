"""A wheel contains everything that the commands need, and no top-level name that other projects use."""

# ruff: noqa: F811  # Tests have parameters with the names of imported fixtures.

import shutil
import signal
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mock_open_e import MockOpenE
from mock_open_e.program import SERVER_MODULES
from tests.contract_tests.checking import running_target
from tests.mock_servers import running_mock
from tests.processes import REPOSITORY, build_environment, run_program, running
from tests.receiver_tests.right_receiver import RightReceiver, serving
from tests.test_documentation import find_broken_links
from tests.test_guards import PACKAGES
from tests.webhook_receivers import SECRET
from tests.wheels import (
    create_environment,
    install_wheels,
    mock_wheel,  # noqa: F401  # The fixtures build the wheels.
    run_pip,
    source,  # noqa: F401
    wheel,  # noqa: F401
)

OWN = ("contract_tests/conftest.py", "contract_tests/test_*.py")
PRIVATE = "budkavle/_packages"


def test_editable_installation_copies_no_module(source: Path, tmp_path: Path) -> None:
    """A copy in site-packages would shadow the module of the checkout."""
    for project in (source, source / "mock_open_e"):
        code = f"from hatchling.build import build_editable; print(build_editable({str(tmp_path)!r}))"
        name = run_program(sys.executable, "-c", code, folder=project).stdout.strip()
        names = zipfile.ZipFile(tmp_path / name).namelist()
        assert [name for name in names if name.endswith(".py") and "/_packages/" not in name] == []


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory, wheel: Path, mock_wheel: Path) -> Path:
    """Return the folder with the programs of a virtual environment with both wheels."""
    requirements = ("budkavle[contract]", "mock-open-e[server]")
    return create_environment(tmp_path_factory.mktemp("environment"), requirements, wheel, mock_wheel)


@pytest.fixture(scope="module")
def service_programs(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """Return the same with only the wheel of the service."""
    return create_environment(tmp_path_factory.mktemp("environment"), ("budkavle",), wheel)


@pytest.fixture(scope="module")
def mock_programs(tmp_path_factory: pytest.TempPathFactory, mock_wheel: Path) -> Path:
    """Return the same with only the wheel of the mock, in a project that uses pytest and calls Open-E with Zeep."""
    requirements = ("mock-open-e[server]", "pytest", "zeep")
    return create_environment(tmp_path_factory.mktemp("environment"), requirements, mock_wheel)


@pytest.fixture(scope="module")
def small_mock_programs(tmp_path_factory: pytest.TempPathFactory, mock_wheel: Path) -> Path:
    """Return the same with the mock without its server."""
    requirements = ("mock-open-e", "pytest")
    return create_environment(tmp_path_factory.mktemp("environment"), requirements, mock_wheel)


def test_wheel_contains_contracts_and_migrations_and_no_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (REPOSITORY / "spec").iterdir():
        assert f"budkavle/spec/{path.name}" in names
    for path in (REPOSITORY / "deploy").glob("*/*"):
        assert f"budkavle/{path.relative_to(REPOSITORY)}" in names
    for path in (REPOSITORY / "persistence" / "migrations").rglob("*.py"):
        assert f"{PRIVATE}/{path.relative_to(REPOSITORY)}" in names
    assert {f"{PRIVATE}/{name}" for name in list_page_files()} <= names
    assert {f"budkavle/demo/receiver_page/receiver.{suffix}" for suffix in ("html", "css", "js")} <= names
    folders = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert folders == {"budkavle"}
    harness = REPOSITORY / "contract_tests"
    for path in [*harness.glob("*/*.py"), *harness.glob("*.toml"), *harness.glob("*.ini")]:
        assert f"{PRIVATE}/{path.relative_to(REPOSITORY)}" in names
    # These run the contract check on our own service.
    private = {name.removeprefix(f"{PRIVATE}/") for name in names if name.startswith(PRIVATE)}
    assert not any(fnmatch(name, pattern) for name in private for pattern in OWN if name.count("/") == 1)
    assert not any("__pycache__" in name for name in names)


def list_page_files() -> set[str]:
    """Return the paths of the templates, style sheets, scripts and licences of the pages that both wheels contain."""
    folder = REPOSITORY / "openapi" / "pages"
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    found = {str(path.relative_to(REPOSITORY)) for path in files}
    assert {"openapi/pages/layout.html", "openapi/pages/style.css"} <= found
    return found


def test_wheel_of_the_mock_contains_exactly_its_files(mock_wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(mock_wheel).namelist() if ".dist-info" not in name}
    assert {name.split("/")[0] for name in names} == {"mock_open_e"}
    mock = REPOSITORY / "mock_open_e"
    files = [path for path in mock.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    ours = {f"mock_open_e/{path.relative_to(mock)}" for path in files} - {"mock_open_e/pyproject.toml"}
    others = {name for name in names if not name.startswith(("mock_open_e/_packages/", "mock_open_e/docs/"))}
    assert others == ours | {"mock_open_e/spec/mock-open-e.yaml"}
    assert {f"mock_open_e/_packages/{name}" for name in list_page_files()} <= names
    assert not any("__pycache__" in name for name in names)


def test_installed_wheel_runs(programs: Path, tmp_path: Path) -> None:
    code = "; ".join(f"import {name}; print({name}.__file__)" for name in PACKAGES if name != "mock_open_e")
    private = f"import sys, budkavle.program; sys.path.insert(0, str(budkavle.program.PACKAGES)); {code}"
    result = run_program(str(programs / "python"), "-c", private, folder=tmp_path)
    assert len(result.stdout.split()) == len(PACKAGES) - 1
    assert all(path.startswith(str(programs.parent)) for path in result.stdout.split())


HELP = """
import sys
import click
from budkavle.program import PACKAGES

def show(command, name, parent=None):
    context = click.Context(command, parent=parent, info_name=name)
    print(command.get_help(context))
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        show(command.get_command(context, name), name, context)

sys.path.insert(0, str(PACKAGES))
from budkavle.commands.cli import main
show(main, "budkavle")
"""
"""A program that prints the `--help` of every command."""


def test_each_file_that_help_names_is_installed(programs: Path, tmp_path: Path) -> None:
    shown = run_program(str(programs / "python"), "-c", HELP, folder=tmp_path).stdout
    named = [Path(word) for word in shown.split() if "/" in word and Path(word).suffix]
    assert {path.name for path in named} >= {"settings.md", "catalogue.example.yaml", "mock-open-e.example.yaml"}
    assert [path for path in named if not (path.is_file() and path.is_relative_to(programs.parent))] == []


@pytest.mark.parametrize("package", ["budkavle", "mock_open_e"])
def test_links_between_installed_pages_are_valid(programs: Path, package: str) -> None:
    (folder,) = programs.parent.glob(f"lib/python*/site-packages/{package}/docs")
    pages = list(folder.rglob("*.md"))
    assert pages
    assert {page.name: links for page in pages if (links := find_broken_links(page))} == {}


def test_importing_the_package_does_not_change_the_import_path(programs: Path, tmp_path: Path) -> None:
    code = "import sys; before = list(sys.path); import budkavle.program; print(sys.path == before)"
    assert run_program(str(programs / "python"), "-c", code, folder=tmp_path).stdout.split() == ["True"]


CHECKS = ("contract_tests", "receiver_tests")
NAMES = ("domain", "handlers", "openapi", "persistence", "oauth2", "open_e", "party_service", "delivery", *CHECKS)


@pytest.fixture(scope="module")
def other_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel of another project, which has packages with the names of ours."""
    path = tmp_path_factory.mktemp("other") / "other-1.0-py3-none-any.whl"
    files = {f"{name}/__init__.py": "raise SystemExit('of another project')" for name in NAMES} | {
        "other-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: other\nVersion: 1.0\n",
        "other-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, "other-1.0.dist-info/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in (files | {"other-1.0.dist-info/RECORD": record}).items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize("is_first", [True, False])
def test_wheels_work_next_to_a_project_with_packages_of_the_same_names(
    wheel: Path, mock_wheel: Path, other_wheel: Path, tmp_path: Path, is_first: bool
) -> None:
    folder = tmp_path / "environment"
    ours = (wheel, mock_wheel)
    first, second = (ours, (other_wheel,)) if is_first else ((other_wheel,), ours)
    programs = create_environment(folder, ("budkavle[contract]", "mock-open-e[server]"), *first)
    install_wheels(folder, *second)
    (packages,) = folder.glob("lib/python*/site-packages")
    # The working directory of the program has such folders as well.
    for name in NAMES:
        shutil.copytree(packages / name, tmp_path / "work" / name)
    python, work = str(programs / "python"), tmp_path / "work"
    for command in (
        (str(programs / "budkavle"), "migrate"),
        (python, "-m", "budkavle", "contract-check", "--help"),
        (python, "-m", "budkavle", "receiver-check", "--help"),
        (str(programs / "mock-open-e"), "--help"),
    ):
        assert run_program(*command, folder=work).returncode == 0
    theirs = {name: (packages / name / "__init__.py").read_text() for name in NAMES}
    assert set(theirs.values()) == {"raise SystemExit('of another project')"}
    run_pip(folder, "uninstall", "--yes", "other")
    assert run_program(str(programs / "budkavle"), "migrate", folder=work).returncode == 0


def test_serve_works_from_another_folder(programs: Path, tmp_path: Path) -> None:
    with running(str(programs / "budkavle"), "serve", "--port", "0", folder=tmp_path) as process:
        url = process.wait_for("Budkavle listens on ")
        assert httpx.get(f"{url}/health/ready", trust_env=False).status_code == 200
        assert httpx.get(f"{url}/docs/web-messages/openapi.yaml", trust_env=False).status_code == 200
        assert httpx.get(f"{url}/docs/static/swagger-ui.css", trust_env=False).status_code == 200
        process.send(signal.SIGTERM)
        assert process.wait() == 0
    assert (tmp_path / "budkavle.db").exists()


def test_mock_open_e_works_from_another_folder(programs: Path, tmp_path: Path) -> None:
    with running(str(programs / "budkavle"), "mock-open-e", "--port", "0", folder=tmp_path) as process:
        url = process.wait_for("The mock Open-E listens on ")
        assert httpx.get(f"{url}/control/messages", trust_env=False).json() == []
        assert httpx.get(f"{url}/s/job1/files/messages.js", trust_env=False).status_code == 200
        process.send(signal.SIGTERM)
        assert process.wait() == 0
    assert list(tmp_path.iterdir()) == []


def test_service_without_the_mock_lists_the_command_and_reports_the_missing_mock(
    service_programs: Path, tmp_path: Path
) -> None:
    python, program = str(service_programs / "python"), str(service_programs / "budkavle")
    assert "No module named 'mock_open_e'" in run_program(python, "-c", "import mock_open_e", folder=tmp_path).stderr
    shown = run_program(program, "--help", folder=tmp_path)
    assert shown.returncode == 0
    assert {"dev", "migrate", "mock-open-e", "serve"} <= set(shown.stdout.split())
    for arguments in (
        ("mock-open-e", "--port", "0"),
        ("dev", "--port", "0", "--mock-port", "0", "--receiver-port", "0", "--operations-port", "0"),
    ):
        result = run_program(program, *arguments, folder=tmp_path)
        # `pip install mock-open-e` would ask an index, which does not have this distribution.
        error = (
            "Error: the mock Open-E is not installed: build its wheel with `make wheel` in a checkout of Budkavle, "
            "and install it with pip install 'dist/mock_open_e-VERSION-py3-none-any.whl[server]'\n"
        )
        assert (result.returncode, result.stdout, result.stderr) == (1, "", error)


def test_mock_without_the_server_reports_what_to_install(small_mock_programs: Path, tmp_path: Path) -> None:
    result = run_program(str(small_mock_programs / "mock-open-e"), "--port", "0", folder=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(
        "The server of the mock needs more packages than the mock itself: pip install 'mock-open-e[server]' (click, "
    )
    (tmp_path / "test_server.py").write_text("def test_server_fixture(open_e_server): pass")
    result = run_program(str(small_mock_programs / "python"), "-m", "pytest", "-q", folder=tmp_path)
    assert result.returncode == 1
    assert "pip install 'mock-open-e[server]'" in result.stdout


def test_mock_reports_other_missing_modules_unchanged(mock_programs: Path, tmp_path: Path) -> None:
    """If a module of the mock itself is missing, the mock is broken, and no package supplies the module."""
    code = "import sys; sys.modules['mock_open_e.server.command'] = None; from mock_open_e.program import main; main()"
    result = run_program(str(mock_programs / "python"), "-c", code, folder=tmp_path)
    assert result.returncode == 1
    assert "ModuleNotFoundError: import of mock_open_e.server.command halted" in result.stderr
    assert "pip install" not in result.stderr


def test_mock_looks_for_each_package_of_its_server() -> None:
    project = tomllib.loads((REPOSITORY / "mock_open_e" / "pyproject.toml").read_text())["project"]
    required = {Requirement(text).name for text in project["optional-dependencies"]["server"]}
    distributions = metadata.packages_distributions()
    found = {canonicalize_name(distributions[name][0]) for name in SERVER_MODULES}
    assert found == required - {"uvloop"}


def test_dev_works_from_another_folder(programs: Path, tmp_path: Path) -> None:
    with running(
        str(programs / "budkavle"),
        "dev",
        "--port",
        "0",
        "--mock-port",
        "0",
        "--receiver-port",
        "0",
        "--operations-port",
        "0",
        folder=tmp_path,
    ) as process:
        process.wait_for("Post a message")
        address = process.wait_for("API pages:")
        body = {"message": "Hej", "externalReferences": [{"key": "flowInstanceId", "value": "1068"}]}
        url = address.removesuffix("/docs")
        response = httpx.post(f"{url}/webmessages", json=body, headers={"apikey": "demo"}, trust_env=False)
        assert response.status_code == 201
        process.send(signal.SIGINT)
        assert process.wait() == 0


def test_receiver_check_needs_only_the_wheel_of_the_service(service_programs: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    with serving(RightReceiver()) as url:
        command = (str(service_programs / "budkavle"), "receiver-check", url, "--secret", "file:secret")
        result = run_program(*command, folder=tmp_path)
    assert result.returncode == 0
    assert "keeps the contract" in result.stdout


def test_contract_check_works_from_a_folder_with_packages_of_the_same_names(
    programs: Path, migrated_sqlite: bytes, tmp_path: Path
) -> None:
    """The modules and the pytest settings of the project must not influence the check."""
    for name in ("contract_tests", "tests", "requests", "pytest", "schemathesis"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('of the project')")
    (tmp_path / "conftest.py").write_text("raise SystemExit('of the project')")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --of-the-project\n")
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '--of-the-project'\n")
    (tmp_path / "schemathesis.toml").write_text("of-the-project = true\n")
    (tmp_path / "test.db").write_bytes(migrated_sqlite)
    before = sorted(tmp_path.iterdir())
    with (
        running_mock(MockOpenE()) as open_e,
        running_target(f"sqlite:///{tmp_path / 'test.db'}", open_e, tmp_path, **OF_CASES) as server,
    ):
        options = ("--spec", "oep-integrator-1.5", "--municipality", "2281", "--suite", "rules", "--seed", "7")
        result = subprocess.run(
            [str(programs / "budkavle"), *server.command(tmp_path, *options)[1:]],
            cwd=tmp_path,
            env=build_environment() | {"PYTEST_ADDOPTS": "--of-the-project", "PYTEST_PLUGINS": "of_the_project"},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "keeps the contract" in result.stdout
    assert "seed 7," in result.stdout
    assert {path.name for path in set(tmp_path.iterdir()) - set(before)} <= {"report", "client.pem", *SQLITE}


OF_CASES = {"compatibility_apis": "oep-integrator-1.5", "municipalities": "2281"}
"""Settings of a service with the smallest contract."""

SQLITE = ("test.db-wal", "test.db-shm", "test.db.use.lock")

PROJECT = {
    "domain/__init__.py": "OURS = 'Hej'",
    "handlers/__init__.py": """
import domain
import requests
import zeep

def send(session=None):
    client = zeep.Client("http://open-e.test/external/api/callback?wsdl")
    return client.service.addMessage(flowInstanceID=1068, message={
        "added": "2026-02-19T07:57:06", "message": domain.OURS, "userID": "", "readReceiptEnabled": False,
    })
""",
    "test_project.py": """
import sys
import handlers
import pytest
import zeep.exceptions
from mock_open_e import mock_open_e

def test_python_interface():
    with mock_open_e(cases={1068}) as open_e:
        assert handlers.send() == 1
        assert open_e.messages[0]["message"] == "Hej"

def test_server_fixture(open_e_server):
    client = zeep.Client(f"{open_e_server.callback_url()}?wsdl")
    message = {"added": "2026-02-19T07:57:06", "message": "Hej", "userID": "", "readReceiptEnabled": False}
    assert client.service.addMessage(flowInstanceID=7, message=message) == 1
    assert [each["message"] for each in open_e_server.messages] == ["Hej"]

def test_each_server_is_a_mock_of_its_own(open_e_server):
    assert open_e_server.messages == []

def test_fixture(open_e_mock):
    assert handlers.send() == 1
    assert len(open_e_mock.messages) == 1

@pytest.mark.open_e_mock(strict=True)
def test_marker(open_e_mock):
    with pytest.raises(zeep.exceptions.Fault, match="The request has no principal"):
        handlers.send()

def test_nothing_else_of_the_wheel_was_imported():
    assert "site-packages" not in handlers.__file__ + handlers.domain.__file__
    assert not {"persistence", "delivery", "budkavle", "openapi", "open_e", "connexion", "starlette"} & set(sys.modules)
    assert "/environment" in sys.modules["mock_open_e"].__file__
""",
}


def test_mock_works_in_a_project_with_packages_of_the_same_names(mock_programs: Path, tmp_path: Path) -> None:
    for name, text in PROJECT.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    # Other plugins in the environment of these tests would import modules that this project does not have.
    plugins = ("-p", "no:anyio", "-p", "no:cacheprovider")
    python = str(mock_programs / "python")
    result = run_program(python, "-m", "pytest", "-q", "--strict-markers", *plugins, folder=tmp_path)
    assert "6 passed" in result.stdout


TYPED_PROJECT = """
from typing import assert_type

import pytest
import requests
from mock_open_e import Entry, Instance, Message, MessageJson, MockOpenE, OpenEServer, Refusal, mock_open_e

def test_python_interface() -> None:
    with mock_open_e(cases={1068}) as open_e:
        assert_type(open_e, MockOpenE)
        assert_type(open_e.plant(1068, "Hej", files=[("a.pdf", b"a")]), Message)
        open_e.fail("Http500", times=None, instance="internal")
        with pytest.raises(ValueError, match="fault must be one of"):
            open_e.fail("Http5000")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="cases"):
            mock_open_e(cases="1068").__enter__()  # type: ignore[arg-type]

def test_fixture(open_e_mock: MockOpenE) -> None:
    requests.post("http://open-e.test/external/api/callback", b"<none/>", timeout=9)
    (call,) = assert_type(open_e_mock.list_calls(), list[Entry])
    refusal = assert_type(call.refusal, Refusal | None)
    assert refusal and assert_type(refusal.accepted, str)
    assert_type(call.instance, Instance)
    messages = assert_type(open_e_mock.messages, list[MessageJson])
    assert [file["sha256"] for message in messages for file in message["attachments"]] == []
    with pytest.raises(IndexError):
        open_e_mock.messages[0]["mesage"]  # type: ignore[typeddict-item]

def test_server_fixture(open_e_server: OpenEServer) -> None:
    assert_type(open_e_server.callback_url("internal"), str)
    assert assert_type(open_e_server.messages, list[MessageJson]) == []
    open_e_server.callback_url("outernal")  # type: ignore[arg-type]
"""


def test_mypy_sees_the_types_of_the_installed_mock(mock_programs: Path, tmp_path: Path) -> None:
    """In strict mode an unused `type: ignore` is an error; no expression of the project may have the type Any."""
    (tmp_path / "test_typed.py").write_text(TYPED_PROJECT)
    python = str(mock_programs / "python")
    assert "3 passed" in run_program(python, "-m", "pytest", "-q", folder=tmp_path).stdout
    # mypy compares the sources with its cache, and so need not read those of Python and pytest in each run.
    cache = ("--cache-dir", str(REPOSITORY / "build" / "mypy"))
    options = ("--strict", "--disallow-any-expr", "--python-executable", python, *cache)
    result = run_program(sys.executable, "-m", "mypy", *options, "test_typed.py", folder=tmp_path)
    assert result.returncode == 0
