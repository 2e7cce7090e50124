"""Imported messages through the interfaces of the services that had them."""

from conftest import running_service
from mock_open_e import mock_open_e
from tests.budkavle.commands.message_imports import build_id, run
from tests.budkavle.conftest import Invoke
from tests.handlers.compatibility.test_case_messages import PATH, build_request, post
from tests.handlers.conftest import OPEN_E_URLS
from tests.mariadb import OldMessage, OldService

TEXT = "Hej! Ditt ärende är klart. 🎉"
FILES = (("rapport.pdf", "application/pdf", b"%PDF-1.7"),)


def test_imported_message_is_the_one_that_open_e_shows(database_url: str, invoke: Invoke, old: OldService) -> None:
    apis = "web-messages-3.2,oep-integrator-1.5"
    with (
        mock_open_e() as open_e,
        running_service(database_url=database_url, compatibility_apis=apis, **OPEN_E_URLS) as service,
    ):
        number = open_e.plant(1068, TEXT, kind="manager", added="2024-05-17T10:11:12").message_id
        old.put(OldMessage(build_id(1), message=TEXT, oep_message_id=number, files=FILES))
        run(invoke, database_url, old)

        def list_shown() -> list[tuple[str, str]]:
            found = service.client.get(f"{PATH}/cases/1068").json()
            return [(each["messageId"], each["message"]) for each in found]

        assert list_shown() == [(str(number), TEXT)]
        listed = service.client.get("/2281/webmessages/external-references/flowInstanceId/1068").json()
        assert [(each["id"], each["message"], each["oepInstance"]) for each in listed] == [
            (build_id(1), TEXT, "EXTERNAL")
        ]
        assert [each["fileName"] for each in listed[0]["attachments"]] == ["rapport.pdf"]
        # An equal message that is posted now is another one.
        posted = post(service, build_request(message=TEXT))
        assert sorted(list_shown()) == sorted([(str(number), TEXT), (str(posted), TEXT)])
