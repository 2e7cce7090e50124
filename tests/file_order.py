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
    "tests/contract_tests/test_recipes.py",
    "tests/contract_tests/test_check_broken_servers.py",
    "contract_tests/test_cli.py",
    "tests/contract_tests/test_check_other_servers.py",
    "tests/contract_tests/test_check_broken_systems.py",
    "tests/contract_tests/test_check_broken_messages.py",
    "tests/contract_tests/test_check_incomplete_servers.py",
    "tests/contract_tests/test_check_interrupted.py",
    "tests/contract_tests/test_check_odd_answers.py",
    "tests/contract_tests/test_check_echoing_server.py",
    "tests/contract_tests/test_check_refused_systems.py",
    "tests/contract_tests/test_check_refusals.py",
    "tests/persistence/postgresql/test_database_restart.py",
    "tests/budkavle/test_crash.py",
    "tests/budkavle/test_logs.py",
    "tests/budkavle/demo/test_demo.py",
    "tests/budkavle/test_wheel.py",
    "tests/test_install_commands.py",
    "tests/test_documentation_site.py",
    "tests/budkavle/test_shown_commands.py",
    "tests/openapi/server/test_serving.py",
    "tests/openapi/server/test_connections.py",
    "tests/budkavle/commands/test_cli.py",
    "tests/budkavle/commands/test_deliveries.py",
    "tests/clients/test_generated_typescript.py",
    "tests/clients/test_generated_python.py",
    "tests/clients/test_subscriptions_client.py",
    "tests/clients/test_web_messages_client.py",
    "contract_tests/rules/test_web_message_attachments.py",
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
