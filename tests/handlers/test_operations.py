"""Health."""

from pathlib import Path

import pytest

from conftest import RunningService, running_service
from mock_open_e import FaultName, MockOpenE
from tests.factories import build_case_body, build_message_body
from tests.handlers.conftest import OPEN_E_URLS
from tests.handlers.messages import create_id, read_problem, read_violations
from tests.held_open_e import closed_port
from tests.postgresql import PostgresqlServer


def test_get_health_live_is_up(contract: RunningService) -> None:
    response = contract.client.get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "UP"})
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_health_has_no_parameters(contract: RunningService, path: str) -> None:
    operation = "getHealthLive" if path.endswith("live") else "getHealthReady"
    expected = [(f"{operation}.verbose", "not a parameter of this operation")]
    assert read_violations(contract.client.get(f"{path}?verbose=true")) == expected


def test_get_health_ready_is_up_with_a_database(database_url: str) -> None:
    with running_service(database_url=database_url, open_e_external_url=OPEN_E_URLS["open_e_external_url"]) as service:
        response = service.client.get("/health/ready")
        assert response.status_code == 200
        components = {"database": "UP", "openEExternal": "UNKNOWN", "openEInternal": "NOT_CONFIGURED"}
        assert response.json() == {"status": "UP", "components": components, "deliveryPauses": 0}


@pytest.mark.parametrize(
    ("fault", "health"),
    [
        (None, "UP"),
        ("FlowInstanceNotFound", "UP"),
        ("AccessDenied", "UP"),
        ("NoDetail", "DOWN"),
        ("Http500", "DOWN"),
        ("Slow", "DOWN"),
        ("Reset", "DOWN"),
        ("Garbage", "DOWN"),
    ],
)
def test_get_health_ready_reports_the_last_call_to_each_open_e(
    contract: RunningService, shared_open_e: MockOpenE, fault: FaultName | None, health: str
) -> None:
    if fault:
        shared_open_e.fail(fault, seconds=3600)
    contract.client.post("/webmessages", json=build_case_body(oepInstance="internal"))
    response = contract.client.get("/health/ready")
    assert response.status_code == 200
    components = {"database": "UP", "openEExternal": "UNKNOWN", "openEInternal": health}
    assert response.json() == {"status": "UP", "components": components, "deliveryPauses": 0}
    contract.client.post("/webmessages", json=build_case_body(oepInstance="internal"))
    assert contract.client.get("/health/ready").json()["components"]["openEInternal"] == "UP"


def test_get_health_ready_is_a_503_and_live_is_200_when_postgresql_is_unreachable() -> None:
    with (
        closed_port() as port,
        running_service(
            database_url=f"postgresql://user:secret@127.0.0.1:{port}/db", database_pool_timeout=0.1
        ) as service,
    ):
        response = service.client.get("/health/ready")
        assert response.status_code == 503
        assert response.headers["content-type"] == "application/json"
        components = {"database": "DOWN", "openEExternal": "NOT_CONFIGURED", "openEInternal": "NOT_CONFIGURED"}
        assert response.json() == {"status": "DOWN", "components": components}
        assert service.client.get("/health/live").status_code == 200
        value = read_problem(service.client.post("/webmessages", json=build_message_body()), 503, "Service Unavailable")
        assert value["detail"].startswith("The database does not answer")


def test_get_health_ready_is_a_503_when_the_postgresql_database_is_missing(postgresql_server: PostgresqlServer) -> None:
    with running_service(database_url=postgresql_server.url("nobody_made_it")) as service:
        assert service.client.get("/health/ready").status_code == 503


def test_get_health_ready_recovers_with_postgresql(
    postgresql_server: PostgresqlServer,
) -> None:
    url = postgresql_server.create_migrated()
    name = url.split("?")[0].rpartition("/")[2]
    with running_service(database_url=url) as service:
        assert service.client.get("/health/ready").status_code == 200
        postgresql_server.execute(f"alter database {name} with allow_connections false")
        postgresql_server.execute(
            f"select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = '{name}'"
        )
        assert [service.client.get("/health/ready").status_code for _ in range(3)] == [503, 503, 503]
        postgresql_server.execute(f"alter database {name} with allow_connections true")
        assert service.client.get("/health/ready").status_code == 200
        assert service.client.get(f"/webmessages/{create_id()}").status_code == 404


def test_get_health_ready_is_a_503_when_the_sqlite_file_cannot_be_opened(tmp_path: Path) -> None:
    with running_service(database_url=f"sqlite:///{tmp_path}") as service:
        assert service.client.get("/health/ready").status_code == 503


def test_get_health_ready_is_a_503_when_the_sqlite_file_is_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    path.write_bytes(b"This is no database. " * 1000)
    with running_service(database_url=f"sqlite:///{path}") as service:
        assert service.client.get("/health/ready").status_code == 503


def test_readiness_does_not_call_open_e(shared_open_e: MockOpenE, contract: RunningService) -> None:
    shared_open_e.clear()
    contract.client.get("/health/ready")
    assert shared_open_e.messages == []
