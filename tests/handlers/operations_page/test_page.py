"""All pages: their headers, methods and errors, and the read-only mode."""

import re

import pytest

from handlers.metrics import DoubtFigures
from handlers.operations_page.overview import describe_doubt
from persistence.database import Database
from tests.factories import NOW
from tests.handlers.operations_page.operations import ROOT, Page, Stuck, put_stuck, running_page, to_text
from tests.persistence.catalogues import SYSTEM_IDS
from tests.waiting import block_until


@pytest.fixture(scope="module")
def stuck(page: Page) -> Stuck:
    return page.run(lambda database: put_stuck(database, SYSTEM_IDS[0], 101))


MENU = '<nav aria-label="Main">'


def list_paths(stuck: Stuck) -> list[str]:
    system = f"{ROOT}/systems/{SYSTEM_IDS[0]}"
    return [
        ROOT,
        f"{ROOT}?all=1",
        system,
        f"{system}/deliveries/parked",
        f"{system}/deliveries/blocked",
        f"{system}/deliveries/waiting",
        f"{ROOT}/deliveries/{stuck.parked[0]}",
        f"{ROOT}/deliveries/{stuck.blocked}",
        f"{ROOT}/messages",
        f"{ROOT}/messages/{stuck.message}",
        f"{ROOT}/requests/{stuck.request}",
        f"{ROOT}/search",
        f"{ROOT}/search?id=%3Cscript%3E",
        f"{ROOT}/requests/{stuck.request}?since=all",
    ]


def list_changes(stuck: Stuck) -> list[str]:
    system = f"{ROOT}/systems/{SYSTEM_IDS[0]}"
    return [
        f"{system}/replay",
        f"{system}/pause",
        f"{ROOT}/deliveries/{stuck.parked[0]}/replay",
        f"{ROOT}/messages/{stuck.message}/settle/published",
        f"{ROOT}/messages/{stuck.message}/settle/not-published",
    ]


def test_pages_need_an_operator_load_nothing_from_elsewhere_and_contain_no_content(page: Page, stuck: Stuck) -> None:
    paths = list_paths(stuck) + list_changes(stuck)
    with page.visiting() as visitor:
        for path in paths:
            assert visitor.get(path).headers["location"].startswith(f"{ROOT}/sign-in"), path
        for path in list_changes(stuck):
            assert visitor.post(path, {"token": "x"}).headers["location"] == f"{ROOT}/sign-in"
    with page.signed_in() as visitor:
        for path in paths:
            response = visitor.get(path)
            assert response.status_code == 200, (path, response.text)
            assert "default-src 'none'" in response.headers["content-security-policy"]
            assert response.headers.get_list("cache-control", split_commas=True) == ["no-store"]
            assert response.headers["x-content-type-options"] == "nosniff"
            loaded = re.findall(r'(?:src|href|action)="([^"]*)"', response.text)
            assert [each for each in loaded if not each.startswith(("/operations", "#"))] == []
            assert len(response.content) < 60_000
            # The text of the message, and the person of the event.
            assert "Hej" not in response.text
            assert "9999999901" not in response.text
            assert "<script" not in response.text
            head = visitor.client.head(path)
            assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize("is_changing", [True, False])
def test_without_the_setting_or_the_scope_nothing_can_be_changed(page: Page, stuck: Stuck, is_changing: bool) -> None:
    with (
        running_page(page.database_url, is_changing=is_changing) as other,
        other.signed_in("bo" if is_changing else "anna") as visitor,
    ):
        for path in list_paths(stuck):
            assert "<form method" not in visitor.get(path).text
            assert "\u2026</a>" not in visitor.get(path).text.replace("</code>\u2026</a>", "")
        for path in list_changes(stuck):
            form = visitor.get(path)
            reason = "it needs the scope operations" if is_changing else "BUDKAVLE_OPERATIONS_CHANGES is not set"
            assert reason in to_text(form.text)
            assert "<button class" not in form.text.split("<h1")[1]
            token = form.text.split('name="token" value="')[1].split('"')[0]
            refused = visitor.post(path, {"token": token, "duration": "1h", "last": "1"})
            assert (refused.status_code, reason in to_text(refused.text)) == (403, True)


def test_messages_in_doubt_that_were_not_counted_are_not_called_none() -> None:
    assert describe_doubt(None, NOW).word == "not known"
    assert describe_doubt(DoubtFigures({}, 0), NOW).word == "none"


def test_menu_is_shown_only_to_operators(page: Page) -> None:
    """To others, each of its links would lead to the sign-in."""
    with page.visiting() as visitor:
        shown = [MENU in visitor.get(f"{ROOT}/sign-in").text]
        visitor.sign_in("anna")
        shown += [MENU in visitor.get(path).text for path in (ROOT, f"{ROOT}/other/page")]
    assert shown == [False, True, True]


def test_errors_are_pages_that_say_what_to_do(page: Page) -> None:
    with page.signed_in() as visitor:
        missing = visitor.get(f"{ROOT}/other/page")
        assert (missing.status_code, "There is no such page." in missing.text) == (404, True)
        wrong = visitor.post(f"{ROOT}/messages", {"token": "x"})
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")
        assert visitor.get(f"{ROOT}/sign-out").headers["allow"] == "POST"
        assert visitor.get(f"{ROOT}/results/none").status_code == 404


def test_health_and_metrics_answer_on_the_same_port(page: Page) -> None:
    with page.visiting() as visitor:
        assert visitor.get("/health/ready").json()["status"] == "UP"
        assert f'<a href="{ROOT}">Operations page</a>' in visitor.client.get("/", headers={"Accept": "text/html"}).text
        assert "budkavle_database_up 1.0" in visitor.get("/metrics").text


def test_overview_names_what_needs_attention(page: Page, stuck: Stuck) -> None:
    with page.signed_in("bo") as visitor:
        link = f'<a href="{ROOT}/systems/{SYSTEM_IDS[0]}">'
        block_until(lambda: link in visitor.get(ROOT).text.split("The last 24 hours")[0])
        text = visitor.read(ROOT)
    assert "needs attention" in text
    # Deliveries that arrive within an interval are in no count.
    assert re.search(r"not delivered every 10 minutes: at most [0-9]", text)
    assert "Messages in doubt 1" in text
    assert "Open-E for citizens not configured" in text
    assert SYSTEM_IDS[0] in text
    assert stuck.message not in text


def test_page_of_a_silent_database_says_so(page: Page) -> None:
    with running_page(page.database_url) as other, other.signed_in() as visitor:

        async def break_it(database: Database) -> None:
            from tests.persistence.rows import execute

            await execute(database, "alter table target_pauses rename to hidden")

        async def repair_it(database: Database) -> None:
            from tests.persistence.rows import execute

            await execute(database, "alter table hidden rename to target_pauses")

        page.run(break_it)
        try:
            response = visitor.get(f"{ROOT}/systems/{SYSTEM_IDS[0]}")
        finally:
            page.run(repair_it)
        assert response.status_code in {500, 503}
        assert response.headers["content-type"].startswith("text/html")
