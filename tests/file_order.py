"""Begin with the test files that take longest, so that the processes of a run end at nearly the same time.

pytest-xdist gives a process one file after the other, and by default begins with the files that have most tests. Files
with few tests that take minutes then come last, and one process runs them while the others have nothing to do.
"""

from collections import Counter

import pytest

LONGEST = (
    "tests/contract_tests/test_check.py",
    "tests/contract_tests/test_check_tls.py",
    "contract_tests/test_schemathesis.py",
    "tests/contract_tests/test_check_odd_responses.py",
    "tests/contract_tests/test_check_broken_servers.py",
    "tests/contract_tests/test_check_broken_systems.py",
    "tests/budkavle/test_service_killed.py",
    "tests/budkavle/commands/test_web_messages_settling_interrupted.py",
    "tests/budkavle/test_wheel.py",
    "tests/budkavle/commands/test_web_messages.py",
    "tests/contract_tests/test_raw_bytes.py",
    "tests/budkavle/test_delivering.py",
    "tests/delivery/test_worker_killed.py",
    "tests/budkavle/test_service_settling.py",
    "tests/persistence/postgresql/test_database_waits.py",
    "tests/handlers/test_subscriptions_large.py",
    "tests/test_publications.py",
    "tests/handlers/test_publication_settler.py",
    "tests/budkavle/test_logs.py",
    "tests/contract_tests/test_check_echoing_server.py",
    "tests/openapi/server/test_serving.py",
    "tests/budkavle/test_crash.py",
    "tests/clients/test_generated_typescript.py",
    "tests/contract_tests/test_check_other_servers.py",
    "tests/contract_tests/test_check_broken_messages.py",
    "tests/budkavle/test_tls_subscriptions.py",
    "tests/test_spectral.py",
    "tests/budkavle/test_service_proxies.py",
    "tests/persistence/test_queue_interleaved.py",
    "tests/contract_tests/test_check_interrupted.py",
    "tests/budkavle/test_tls.py",
    "tests/persistence/postgresql/test_database_restart.py",
    "tests/delivery/test_windows_simulated.py",
    "tests/receiver_tests/test_check_broken_receivers.py",
    "tests/receiver_tests/test_reproducing.py",
    "tests/budkavle/demo/test_demo.py",
    "tests/receiver_tests/test_check_right_receivers.py",
    "contract_tests/raw_bytes/test_limits.py",
    "tests/clients/test_generated_python.py",
    "tests/contract_tests/test_recipes.py",
    "tests/mock_open_e/test_pytest_plugin.py",
    "tests/budkavle/commands/test_cli.py",
    "tests/budkavle/commands/test_deliveries.py",
    "contract_tests/test_cli.py",
    "tests/budkavle/commands/test_deliveries_selection.py",
    "contract_tests/rules/test_web_message_attachments.py",
    "tests/openapi/server/test_connections.py",
    "tests/budkavle/test_service_poolers.py",
    "tests/budkavle/test_clock.py",
    "tests/budkavle/test_tls_reload.py",
    "tests/test_tutorials.py",
)
"""Files that take more than about ten seconds although they have few tests, the longest first."""


def pytest_configure(config: pytest.Config) -> None:
    """Keep pytest-xdist from ordering files by their number of tests."""
    config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the files of a process of pytest-xdist. A run in one process keeps its order."""
    if not hasattr(config, "workerinput"):
        return
    files = [item.nodeid.partition("::")[0] for item in items]
    sizes = Counter(files)
    ranks = {file: rank for rank, file in enumerate(LONGEST)}
    keys = {file: (ranks.get(file, len(ranks)), -sizes[file], file) for file in sizes}
    items.sort(key=lambda item: keys[item.nodeid.partition("::")[0]])
