"""Begin with the test files that take longest, so that the processes of a run end at nearly the same time.

pytest-xdist gives a process one file after the other, and by default begins with the files that have most tests. Files
with few tests that take minutes then come last, and one process runs them while the others have nothing to do.
"""

from collections import Counter

import pytest

LONGEST = (
    "tests/contract_tests/test_check.py",
    "tests/budkavle/test_service_killed.py",
    "tests/contract_tests/test_check_tokens.py",
    "contract_tests/test_schemathesis.py",
    "tests/budkavle/commands/test_web_messages_settling_interrupted.py",
    "tests/receiver_tests/test_check_broken_receivers.py",
    "tests/budkavle/test_wheel.py",
    "tests/contract_tests/test_check_tls.py",
    "tests/mock_open_e/server/test_page_browser.py",
    "tests/persistence/postgresql/test_database_waits.py",
    "tests/budkavle/commands/test_deliveries_selection.py",
    "tests/openapi/test_docs_browser.py",
    "tests/receiver_tests/test_check.py",
    "tests/deploy/test_installed.py",
    "tests/handlers/operations_page/test_page_browser.py",
    "tests/handlers/publications/test_settler.py",
    "tests/budkavle/commands/test_message_imports_killed.py",
    "tests/contract_tests/test_raw_bytes.py",
    "tests/test_documentation_site.py",
    "tests/budkavle/commands/test_web_messages.py",
    "tests/budkavle/test_service_settling.py",
    "tests/test_install_commands.py",
    "tests/delivery/test_worker_killed.py",
    "tests/budkavle/commands/test_audit_export.py",
    "tests/test_spectral.py",
    "tests/clients/test_generated_typescript.py",
    "tests/clients/test_generated_python.py",
    "tests/clients/test_generated_servers.py",
    "tests/contract_tests/test_check_odd_responses.py",
    "tests/persistence/test_queue_interleaved.py",
    "tests/delivery/test_access_tokens.py",
    "tests/contract_tests/test_check_broken_systems.py",
    "tests/handlers/test_subscriptions_large.py",
    "tests/budkavle/test_service_proxies.py",
    "tests/budkavle/commands/test_web_messages_deletion.py",
    "tests/contract_tests/test_check_other_servers.py",
    "tests/handlers/compatibility/test_web_messages_interrupted.py",
    "tests/contract_tests/test_check_interrupted.py",
    "tests/receiver_tests/test_check_right_receivers.py",
    "contract_tests/raw_bytes/test_limits.py",
    "tests/budkavle/commands/test_person.py",
    "tests/persistence/postgresql/test_database_restart.py",
    "tests/budkavle/test_clock.py",
    "tests/contract_tests/test_check_broken_servers.py",
    "tests/openapi/server/test_connections.py",
    "tests/budkavle/test_shown_commands.py",
    "tests/handlers/test_web_messages_while_publishing.py",
    "tests/budkavle/test_service_silent_database.py",
    "tests/budkavle/commands/test_purge.py",
    "tests/delivery/test_response_heads.py",
    "tests/budkavle/commands/test_message_imports_guide.py",
    "tests/budkavle/commands/test_audit_pruning.py",
    "tests/budkavle/commands/test_backups_under_load.py",
    "tests/budkavle/demo/test_receiver_browser.py",
    "tests/delivery/test_windows_simulated.py",
    "tests/test_makefile.py",
    "tests/mock_open_e/behaviour/soap/test_reading.py",
    "tests/budkavle/test_delivering.py",
    "contract_tests/rules/test_web_message_attachments.py",
    "tests/budkavle/test_operator_events_killed.py",
    "tests/delivery/test_worker_idle.py",
    "tests/openapi/server/test_serving.py",
    "tests/contract_tests/test_recipes.py",
    "tests/delivery/test_worker_failed_turns.py",
    "tests/budkavle/commands/test_audit_forgeries.py",
    "tests/contract_tests/test_check_servers_without_keys.py",
    "tests/contract_tests/test_check_compatibility.py",
    "tests/test_previous_release.py",
    "tests/handlers/test_metrics.py",
    "tests/persistence/test_schema_downgrade.py",
    "tests/persistence/test_schema.py",
    "tests/persistence/postgresql/test_database_poolers.py",
    "tests/mock_open_e/server/test_soap.py",
    "tests/openapi/server/test_processes.py",
    "tests/receiver_tests/test_reproducing.py",
    "tests/test_file_schemas.py",
    "tests/persistence/sqlite/test_write_ahead_log.py",
    "tests/budkavle/commands/test_cli.py",
    "tests/budkavle/test_service_scaled.py",
    "contract_tests/test_cli.py",
    "tests/budkavle/demo/test_demo.py",
    "tests/test_every_test_runs.py",
    "tests/handlers/publications/test_idempotency_keys_while_publishing.py",
    "tests/persistence/postgresql/test_database_server.py",
    "tests/receiver_tests/test_check_pages.py",
    "tests/budkavle/test_service_poolers.py",
    "tests/delivery/test_worker_pauses.py",
    "tests/oauth2/test_remote_key_sets.py",
    "tests/test_sbom.py",
    "tests/budkavle/commands/test_message_imports_silent.py",
)
"""Files that take more than about six seconds of a full run on two processors, the longest first.

The clients and Spectral come early because they are installed in a first run, which takes longer.
"""


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
