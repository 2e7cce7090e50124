"""The interface for Python tests, with the programs of the guide."""

from contextlib import suppress
from types import SimpleNamespace

import requests

from tests.mock_open_e.soap import UTF8, add_message
from tests.processes import REPOSITORY
from tests.shown_commands import read_blocks

GUIDE = REPOSITORY / "docs" / "how-to" / "mock-open-e.md"
DOOR, SERVER = (block.text for block in read_blocks(GUIDE) if block.language == "python")


def post(url: str, case: int = 1068) -> None:
    """Send a message as a client does, and do without the answer if it is lost."""
    with suppress(requests.ConnectionError):
        message = add_message(case=f"<flowInstanceID>{case}</flowInstanceID>")
        requests.post(url, message, headers={"Content-Type": UTF8}, timeout=30)


def test_example_with_requests_runs(capsys):
    code = DOOR.replace("    ...\n", '    post("https://open-e.example/api/callback")\n')
    assert code != DOOR
    exec(code, {"post": post})
    assert capsys.readouterr().out == "None\n"


def test_example_with_a_port_runs(open_e_server):
    names = {"my_client": SimpleNamespace(post=post)}
    exec(SERVER, names)
    names["test_my_client"](open_e_server)
