"""Run commands in this process, and provide databases for commands in other processes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from budkavle.commands.cli import main
from openapi.observation.logs import set_up_logs
from tests.certificates import Authority, Issued

Invoke = Callable[..., Result]


@pytest.fixture
def invoke() -> Iterator[Invoke]:
    """Yield a function that runs a command in this process: `invoke(url, "api-key", "list")`."""

    def run(database_url: str, *arguments: str, **settings: str) -> Result:
        environment = {f"BUDKAVLE_{name.upper()}": value for name, value in settings.items()}
        result = CliRunner().invoke(main, arguments, env={"BUDKAVLE_DATABASE_URL": database_url, **environment})
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        return result

    yield run
    # Commands send logs to the streams of their runner.
    set_up_logs("json", "error")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return the CA of the service and of its callers."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def caller(authority: Authority) -> Issued:
    """Return a client certificate."""
    return authority.issue()


@pytest.fixture(scope="session")
def tls(authority: Authority) -> dict[str, Path]:
    """Return settings of a service that serves TLS on 127.0.0.1."""
    file = authority.issue("127.0.0.1", "localhost").file
    return {"tls_cert": file, "tls_key": file, "client_ca": authority.file}
