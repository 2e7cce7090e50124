"""Begin with the test files that take longest, so that the processes of a run end at nearly the same time.

pytest-xdist gives a process one file after the other, and by default begins with the files that have most tests. Files
with few tests that take minutes then come last, and one process runs them while the others have nothing to do.
"""

from collections import Counter

import pytest

LONGEST = (
    "tests/contract_tests/test_check.py",
    "tests/budkavle/test_service_killed.py",
    "tests/contract_tests/test_check_tls.py",
    "contract_tests/test_schemathesis.py",
    "tests/receiver_tests/test_check.py",
    "tests/mock_open_e/server/test_page_browser.py",
    "tests/contract_tests/test_check_tokens.py",
    "tests/budkavle/test_wheel.py",
    "tests/openapi/test_docs_browser.py",
    "tests/contract_tests/test_check_odd_responses.py",
    "tests/clients/test_generated_servers.py",
    "tests/receiver_tests/test_check_broken_receivers.py",
    "tests/deploy/test_installed.py",
    "tests/budkavle/commands/test_web_messages_settling_interrupted.py",
    "tests/persistence/postgresql/test_database_waits.py",
    "tests/contract_tests/test_raw_bytes.py",
    "tests/persistence/test_queue_interleaved.py",
    "tests/handlers/operations_page/test_page_browser.py",
    "tests/test_spectral.py",
    "tests/test_documentation_site.py",
    "tests/handlers/test_subscriptions_large.py",
    "tests/budkavle/commands/test_deliveries_selection.py",
    "tests/contract_tests/test_check_interrupted.py",
    "tests/budkavle/commands/test_message_imports_killed.py",
    "tests/handlers/compatibility/test_web_messages_interrupted.py",
    "tests/clients/test_generated_typescript.py",
    "tests/handlers/publications/test_settler.py",
    "tests/clients/test_generated_python.py",
    "tests/budkavle/commands/test_web_messages.py",
    "tests/budkavle/test_service_settling.py",
    "tests/budkavle/commands/test_audit_export.py",
    "tests/contract_tests/test_check_other_servers.py",
    "tests/delivery/test_worker_killed.py",
    "tests/budkavle/test_service_proxies.py",
    "tests/test_makefile.py",
    "contract_tests/raw_bytes/test_limits.py",
    "tests/test_install_commands.py",
    "tests/contract_tests/test_check_servers_without_keys.py",
    "tests/budkavle/test_clock.py",
    "tests/delivery/test_access_tokens.py",
    "contract_tests/rules/test_web_message_attachments.py",
    "tests/receiver_tests/test_check_right_receivers.py",
    "tests/contract_tests/test_check_broken_servers.py",
    "tests/test_file_schemas.py",
    "tests/budkavle/commands/test_audit_forgeries.py",
    "tests/budkavle/commands/test_backups_under_load.py",
    "tests/contract_tests/test_check_broken_messages.py",
    "tests/budkavle/commands/test_audit_pruning.py",
    "tests/contract_tests/test_check_broken_tokens.py",
    "tests/openapi/server/test_connections.py",
    "tests/test_previous_release.py",
    "tests/persistence/test_schema.py",
    "tests/persistence/postgresql/test_database_restart.py",
    "tests/contract_tests/test_check_compatibility.py",
    "tests/handlers/test_web_messages_while_publishing.py",
    "tests/persistence/test_schema_downgrade.py",
    "tests/budkavle/commands/test_deliveries.py",
    "tests/budkavle/test_operator_events_killed.py",
    "tests/contract_tests/test_check_broken_systems.py",
    "tests/budkavle/demo/test_receiver_browser.py",
    "tests/contract_tests/test_recipes.py",
    "tests/test_sbom.py",
    "tests/budkavle/test_shown_commands.py",
    "tests/contract_tests/test_check_echoing_server.py",
    "tests/budkavle/commands/test_message_imports_guide.py",
    "tests/mock_open_e/behaviour/soap/test_reading.py",
    "tests/budkavle/commands/test_person.py",
    "tests/test_plain_english.py",
    "tests/budkavle/commands/test_cli.py",
    "tests/delivery/test_response_heads.py",
    "tests/budkavle/test_service_silent_database.py",
    "tests/budkavle/test_delivering.py",
    "tests/persistence/postgresql/test_database_poolers.py",
    "tests/budkavle/commands/test_message_imports.py",
    "tests/openapi/server/test_processes.py",
    "tests/openapi/server/test_serving.py",
    "tests/budkavle/commands/test_audit_seals.py",
    "contract_tests/raw_bytes/test_base64.py",
    "contract_tests/test_cli.py",
    "tests/delivery/test_worker_idle.py",
    "tests/receiver_tests/test_reproducing.py",
    "tests/test_alerts.py",
    "tests/budkavle/test_logs.py",
    "tests/handlers/test_web_messages_interrupted.py",
    "tests/test_publications.py",
    "tests/handlers/publications/test_idempotency_keys_while_publishing.py",
    "tests/budkavle/test_issuers.py",
    "tests/delivery/test_worker_failed_turns.py",
    "tests/budkavle/test_service_poolers.py",
    "contract_tests/raw_bytes/test_json.py",
    "tests/persistence/test_subscriptions_all_or_nothing.py",
    "tests/delivery/test_worker_pauses.py",
    "tests/budkavle/test_issuers_pages.py",
    "tests/openapi/bodies/test_json_reader.py",
    "tests/oauth2/test_verification_mutations.py",
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
