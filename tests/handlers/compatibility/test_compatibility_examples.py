"""Every example of the compatibility APIs works, and gets an answer of its contract."""

from collections.abc import Iterator

import pytest

from budkavle.demo.web_messages import put_demo_rows
from budkavle.setting_values import COMPATIBILITY_APIS
from conftest import RunningService, running_service
from mock_open_e import mock_open_e
from tests.budkavle.demo.test_demo import SPECS, list_example_requests
from tests.databases import run_with_database
from tests.handlers.conftest import OPEN_E_URLS

ORDER = ("post", "get", "delete")


@pytest.fixture(scope="module")
def service(migrated_sqlite: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Yield a service with the messages that the examples name."""
    path = tmp_path_factory.mktemp("examples") / "test.db"
    path.write_bytes(migrated_sqlite)
    url = f"sqlite:///{path}"
    run_with_database(url, put_demo_rows)
    apis = ",".join(COMPATIBILITY_APIS)
    with mock_open_e(), running_service(database_url=url, compatibility_apis=apis, **OPEN_E_URLS) as running:
        yield running


@pytest.mark.parametrize("name", COMPATIBILITY_APIS)
def test_every_example_works(service: RunningService, name: str) -> None:
    operations = [
        (path, method, operation)
        for path, methods in SPECS[name]["paths"].items()
        for method, operation in methods.items()
    ]
    for path, method, operation in sorted(operations, key=lambda each: ORDER.index(each[1])):
        for request in list_example_requests(SPECS[name], path, method, operation):
            response = service.client.request(**request)
            success = [status for status in operation["responses"] if status.startswith("2")]
            assert str(response.status_code) in success, f"{operation['operationId']}: {response.text}"
            if method == "get" and "families" not in path:
                assert response.content != b"[]", path
