"""Systems that a check would take something from that it cannot give back: they are left as they are."""

from pathlib import Path

import pytest

from persistence.tables import subscriptions
from tests.catalogue_rows import ALLOWED, ENDED, ORG_TYPE, execute, put_parked_message
from tests.contract_tests.checking import SYSTEM, Server
from tests.databases import with_database
from tests.factories import NOW
from tests.persistence.rows import counts


def assert_left_alone(server: Server, folder: Path, words: str) -> None:
    with server.api() as api:
        before, waiting = api.subscriptions(), api.deliveries()
        ended = server.check(folder, "--spec", "subscriptions")
        assert ended.returncode == 2, ended.stdout + ended.stderr
        assert words in ended.stderr
        assert (api.subscriptions(), api.deliveries()) == (before, waiting)


def test_system_that_messages_wait_for_is_left_alone(server: Server, tmp_path: Path) -> None:
    put_parked_message(server.database_url, SYSTEM, (ORG_TYPE, 101, ALLOWED), "3e4f4c1e-5798-41e9-ae24-57fa13b361e1")
    assert_left_alone(server, tmp_path, "messages wait for system")
    assert with_database(server.database_url, counts)["deliveries"] == 1


@pytest.mark.parametrize(("entity_type", "end"), [(ENDED, None), (ALLOWED, NOW)], ids=["type", "subscription"])
def test_system_that_has_what_it_could_not_be_given_is_left_alone(
    entity_type: int, end: object, server: Server, tmp_path: Path
) -> None:
    """What has ended stays while it is left untouched; once it is gone nobody can have it again."""
    values = {"org_type": ORG_TYPE, "org_code": 101, "entity_type": entity_type, "start_time": NOW, "end_time": end}
    insert = subscriptions.insert().values(system_id=SYSTEM, webhook_url="/webhook", **values)
    execute(server.database_url, insert)
    assert_left_alone(server, tmp_path, "could not be given its subscriptions back")
