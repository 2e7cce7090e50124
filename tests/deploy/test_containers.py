"""The files of images, which `test_installed.py` executes, and the commands of compose.yaml."""

import re
import signal
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from budkavle.settings import Settings
from mock_open_e import MockOpenE
from tests.deploy.containerfiles import Image, is_in_context, read_instructions
from tests.factories import build_case_body
from tests.mock_servers import running_mock
from tests.postgresql import PostgresqlServer
from tests.processes import REPOSITORY, budkavle, run_program, running
from tests.shown_commands import read_block

SERVICE = REPOSITORY / "Containerfile"
MOCK = REPOSITORY / "Containerfile.mock"
COMPOSE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())


@pytest.mark.parametrize(
    ("path", "project"), [(SERVICE, "pyproject.toml"), (MOCK, "mock_open_e/pyproject.toml")], ids=["service", "mock"]
)
def test_image_has_the_version_of_its_project(path: Path, project: str) -> None:
    version = tomllib.loads((REPOSITORY / project).read_text())["project"]["version"]
    labels = Image(path).labels
    assert labels["org.opencontainers.image.version"] == version
    assert set(labels) >= {f"org.opencontainers.image.{name}" for name in ("title", "description", "revision")}


@pytest.mark.parametrize("path", [SERVICE, MOCK], ids=["service", "mock"])
def test_containerfile_names_no_registry(path: Path) -> None:
    bases = [each.argument for each in read_instructions(path) if each.keyword == "FROM"]
    (base,) = re.findall(r"^ARG BASE=(\S+)$", path.read_text(), re.MULTILINE)
    assert {text.split()[0] for text in bases} == {"${BASE}", "base"}
    assert "/" not in base
    images = [service["image"] for service in COMPOSE["services"].values()]
    assert [image for image in images if "/" in image] == []


def test_context_contains_no_secrets() -> None:
    for name in (".git/config", "secrets/database-url", ".venv/bin/python", "budkavle.db", "service.key", "tests/a.py"):
        assert not is_in_context(name)
    assert not is_in_context("domain/__pycache__/errors.cpython-311.pyc")
    assert is_in_context("domain/errors.py")


def list_variables(service: dict[str, Any]) -> dict[str, str]:
    """Return the settings of a service of compose.yaml."""
    variables: dict[str, str] = service["environment"]
    assert set(variables) <= {f"BUDKAVLE_{name.upper()}" for name in Settings.model_fields}
    return variables


def run_health_check(name: str, address: str) -> None:
    """Run the health check of a service of compose.yaml at another port."""
    kind, program, option, code = COMPOSE["services"][name]["healthcheck"]["test"]
    assert (kind, program, option) == ("CMD", "python", "-c")
    ports = {"service": "8080", "worker": "8082", "mock": "8081", "operations": "8084"}
    assert f"'127.0.0.1', {ports[name]})" in code
    code = code.replace(ports[name], str(httpx.URL(address).port))
    assert run_program(*budkavle()[:1], option, code).returncode == 0


def test_commands_of_compose_run(postgresql_server: PostgresqlServer, tmp_path: Path) -> None:
    """The programs find each other at other addresses than in containers."""
    create, start = read_block("docs/how-to/containers.md", "mkdir").split("docker", 1)
    result = run_program("/bin/sh", "-euc", create, folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    # The user of a container must be able to read the files.
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "secrets").iterdir()}
    assert modes == dict.fromkeys([Path(secret["file"]).name for secret in COMPOSE["secrets"].values()], 0o644)
    url = tmp_path / "secrets" / "database-url"
    password = (tmp_path / "secrets" / "database-password").read_text().strip()
    role = COMPOSE["services"]["postgres"]["environment"]["POSTGRES_USER"]
    assert url.read_text() == f"postgresql://{role}:{password}@postgres/{role}\n"
    url.write_text(postgresql_server.create_empty("compose"))
    services = COMPOSE["services"]
    try:
        with running_mock(MockOpenE()) as mock:
            run_health_check("mock", mock)
            settings = {"host": "127.0.0.1", "port": "0", "worker_port": "0", "operations_port": "0"}
            for name, value in list_variables(services["migrate"]).items():
                here = value.replace("http://mock:8081", mock).replace("/run/secrets", str(tmp_path / "secrets"))
                settings[name.removeprefix("BUDKAVLE_").lower()] = here
            assert services["service"]["environment"] == services["worker"]["environment"]
            page = list_variables(services["operations"])
            assert page == services["service"]["environment"] | {"BUDKAVLE_OPERATIONS_HOST": "0.0.0.0"}
            # It is published on this machine only, and only on demand.
            assert (services["operations"]["ports"], services["operations"]["profiles"]) == (
                ["127.0.0.1:8084:8084"],
                ["operations"],
            )
            assert run_program(*budkavle(*services["migrate"]["command"]), **settings).returncode == 0
            with (
                running(*budkavle(*services["service"]["command"]), **settings) as service,
                running(*budkavle(*services["worker"]["command"]), **settings) as worker,
                running(*budkavle(*services["operations"]["command"]), **settings) as operations,
            ):
                address = service.wait_for("Budkavle listens on ")
                run_health_check("service", address)
                run_health_check("worker", worker.wait_for("The worker listens on "))
                run_health_check("operations", operations.wait_for("The operations page is at "))
                (command,) = re.findall(r"^ compose exec service budkavle (.*)$", start, re.MULTILINE) or re.findall(
                    r"docker compose exec service budkavle (.*)", start
                )
                key = run_program(*budkavle(*command.split()), **settings).stdout.split()[-1]
                body = build_case_body()
                response = httpx.post(f"{address}/webmessages", json=body, headers={"apikey": key}, trust_env=False)
                assert response.status_code == 201
                for process in (service, worker, operations):
                    process.send(signal.SIGTERM)
                    assert process.wait() == 0
    finally:
        postgresql_server.execute("drop database compose with (force)")


def test_containers_of_compose_may_do_little_and_have_time_to_stop() -> None:
    for name in ("migrate", "service", "worker", "operations", "mock"):
        service = COMPOSE["services"][name]
        assert service["read_only"]
        assert (service["cap_drop"], service["tmpfs"]) == (["ALL"], ["/tmp"])
        assert service["security_opt"] == ["no-new-privileges:true"]
    defaults = Settings()
    longest = defaults.drain_seconds + defaults.shutdown_timeout + defaults.record_timeout
    for name in ("service", "worker", "operations"):
        assert int(COMPOSE["services"][name]["stop_grace_period"].removesuffix("s")) > longest
