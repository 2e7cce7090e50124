import asyncio
import threading

import requests

from mock_open_e import MockOpenE, Scenario
from mock_open_e.behaviour.scenario import Account, DeclaredCase
from mock_open_e.server.worlds import Worlds
from tests.mock_open_e.posting import list_texts, post


def test_named_worlds_are_isolated(mock_url):
    for name, text in [("", "root"), ("/s/job1", "one"), ("/s/job2", "two")]:
        assert post(f"{mock_url}{name}", text).status_code == 200
    assert [list_texts(f"{mock_url}{name}") for name in ("", "/s/job1", "/s/job2")] == [["root"], ["one"], ["two"]]
    requests.post(f"{mock_url}/s/job1/control/faults", json={"fault": "Http500"}, timeout=5)
    assert [post(f"{mock_url}/s/{name}").status_code for name in ("job2", "job1", "job1")] == [200, 500, 200]
    assert requests.post(f"{mock_url}/s/job1/control/reset", timeout=5).status_code == 204
    assert [list_texts(f"{mock_url}{name}") for name in ("", "/s/job1")] == [["root"], []]


def test_worlds_have_their_own_address_in_the_wsdl(mock_url):
    url = f"{mock_url}/s/job1/external/api/callback"
    assert f'location="{url}"' in requests.get(f"{url}?wsdl", timeout=5).text


def test_worlds_begin_with_scenario_and_credentials(run_mock):
    scenario = Scenario(accounts=(Account("u", "p"),), cases=(DeclaredCase(7),), strict=True)
    with run_mock(MockOpenE(scenario=scenario)) as url:
        named = f"{url}/s/job1"
        assert post(named, case=7).status_code == 401
        assert post(named, case=7, auth=("u", "p")).status_code == 200
        assert post(named, case=8, auth=("u", "p")).status_code == 500
        overview = requests.get(f"{named}/control/overview", timeout=5).json()
        assert (overview["name"], overview["strict"], overview["calls"]) == ("job1", True, 3)


def test_worlds_refuse_invalid_names(idle_mock_url):
    for name in ("a%20b", "x" * 65, "", "å"):
        assert requests.get(f"{idle_mock_url}/s/{name}/control/messages", timeout=5).status_code == 404


def test_worlds_remove_the_least_recently_used():
    worlds = Worlds(MockOpenE(), limit=2)
    first, second = worlds.get("first"), worlds.get("second")
    first.running = 1
    worlds.get("third")
    assert worlds.list_names() == ["first", "third"]
    first.running = 0
    worlds.get("third")
    worlds.get("fourth")
    assert worlds.list_names() == ["fourth", "third"]
    assert second.is_closing
    assert first.is_closing


def test_until_notices_changes_from_other_threads():
    async def wait():
        world = Worlds(MockOpenE()).root
        before = world.revision
        waiting = asyncio.create_task(world.wait_for(lambda: world.revision if world.revision != before else None, 30))
        await asyncio.sleep(0)
        threading.Thread(target=world.mock.clear).start()
        return await waiting

    assert asyncio.run(wait()) > 0


def test_until_ends_at_the_timeout_and_when_the_server_stops():
    async def wait():
        worlds = Worlds(MockOpenE())
        assert await worlds.root.wait_for(lambda: None, 0) is None
        waiting = asyncio.create_task(worlds.get("job1").wait_for(lambda: None, 30))
        await asyncio.sleep(0)
        worlds.close()
        assert await waiting is None
        assert await worlds.get("job2").wait_for(lambda: None, 30) is None

    asyncio.run(wait())
