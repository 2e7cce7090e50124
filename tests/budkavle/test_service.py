"""The assembled service."""

from datetime import UTC, datetime

from budkavle.service import new_id, now, server_config, spec_dir
from budkavle.settings import Settings


def test_spec_dir_holds_the_contracts() -> None:
    assert {"operations.yaml", "web-messages.yaml"} <= {path.name for path in spec_dir().iterdir()}


def test_now_is_aware_and_whole_milliseconds() -> None:
    before = datetime.now(UTC)
    moment = now()
    assert moment.tzinfo is UTC
    assert moment.microsecond % 1000 == 0
    assert abs((moment - before).total_seconds()) < 60


def test_new_id_is_new() -> None:
    assert len({new_id() for _ in range(100)}) == 100


def test_server_config_believes_no_headers_of_proxies_and_names_no_server() -> None:
    config = server_config(Settings(shutdown_timeout=7), lambda: None)
    assert (config.proxy_headers, config.server_header, config.timeout_graceful_shutdown) == (False, False, 7)
