"""Run the commands of the documentation in a shell: the README, the tutorials, the first start of an installation."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.processes import REPOSITORY, budkavle, running
from tests.shown_commands import read_block, read_blocks
from tests.warm_commands import build_shell_command

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the commands use curl, which is missing")


class Shell:
    """A shell that runs the commands of a page, with the ports of the running programs."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self.addresses = addresses

    def paste(self, page: str) -> list[str]:
        """Return the output of each command of a page; the commands share one shell."""
        shell = [block.text for block in read_blocks(REPOSITORY / page) if block.language == "sh"]
        # The demo of `make run` runs already.
        lines = "".join(text for text in shell if not text.startswith("make ")).splitlines()
        for port, address in self.addresses.items():
            lines = [line.replace(f"http://127.0.0.1:{port}", address) for line in lines]
        mark = "--- next ---"
        script = "\n".join(line if "=" in line.split()[0] else f"{line}\nprintf '\\n{mark}\\n'" for line in lines)
        result = subprocess.run(["/bin/sh", "-e", "-c", script], capture_output=True, text=True, timeout=60, check=True)
        assert result.stderr == ""
        return [output.strip() for output in result.stdout.split(mark)[:-1]]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("demo")
    with running(
        *budkavle("dev", "--port", "0", "--mock-port", "0", "--receiver-port", "0", "--operations-port", "0"),
        folder=folder,
    ) as process:
        process.wait_for("Ctrl-C")
        found = dict(re.findall(r"^(\S.*?):\s+(http\S+)$", "".join(process.out), re.MULTILINE))
        yield Shell(
            {
                "8080": found["API pages"].removesuffix("/docs"),
                "8081": found["Inbox of the mock"].rstrip("/"),
                "8083": found["Receiver of events"].rstrip("/"),
            }
        )


def test_readme_shows_a_first_message_in_three_lines(shell: Shell) -> None:
    posted, fetched, published = shell.paste("README.md")
    assert posted.startswith("HTTP/1.1 201 Created")
    assert "Hello" in {message["message"] for message in json.loads(fetched)}
    assert "Hello" in {message["message"] for message in json.loads(published)}


def test_first_message_works_as_written(shell: Shell) -> None:
    posted, fetched, published, rejected, stored, listed = shell.paste("docs/tutorial/first-message.md")
    assert posted.startswith("HTTP/1.1 201 Created")
    assert re.search(r"^location: /webmessages/", posted, re.MULTILINE | re.IGNORECASE)
    text = "Your application has arrived"
    assert text in {message["message"] for message in json.loads(fetched)}
    assert text in {message["message"] for message in json.loads(published)}
    # The page shows this response.
    assert f"```json\n{rejected}\n```" in (REPOSITORY / "docs" / "tutorial" / "first-message.md").read_text()
    assert stored.startswith("HTTP/1.1 201 Created")
    assert [message["message"] for message in json.loads(listed)] == ["For the app"]


def test_first_subscription_works_as_written(shell: Shell) -> None:
    synced, fetched, refused, published, _ = shell.paste("docs/tutorial/first-subscription.md")
    assert json.loads(synced) == {"oprettet": 1, "opdateret": 0, "slettet": 0, "uaendret": 1, "slettedeBeskeder": 0}
    assert len(json.loads(fetched)["abonnementer"]) == 2
    assert [(error["errorCode"], error["index"]) for error in json.loads(refused)["errors"]] == [(150101, 1)]
    assert published.startswith("HTTP/1.1 202 Accepted")
    accepted = json.loads(published.splitlines()[-1])
    assert accepted["abonnementer"] == 1
    while accepted["beskedId"] not in (page := httpx.get(shell.addresses["8083"], trust_env=False, verify=False).text):
        pass
    assert "Signature verified" in page


def test_status_of_an_event_works_as_written(shell: Shell) -> None:
    accepted, counted = (json.loads(output) for output in shell.paste("docs/how-to/publish-events.md"))
    assert accepted["abonnementer"] == 1
    assert counted["beskedId"] == accepted["beskedId"]
    assert counted["leveret"] + counted["venter"] == 1


def test_first_start_of_an_installation_works_as_written(tmp_path: Path) -> None:
    script = read_block("docs/how-to/deploy.md", "export").replace("/var/lib/budkavle/", f"{tmp_path}/")
    script = script.replace("budkavle serve", "exec budkavle serve --port 0")
    shutil.copy(REPOSITORY / "docs" / "catalogue.example.yaml", tmp_path / "catalogue.yaml")
    with running(*build_shell_command(script), folder=tmp_path) as process:
        url = process.wait_for("Budkavle listens on ")
        assert process.out[-2].strip(), "the key is printed before"
        response = httpx.get(f"{url}/health/ready", trust_env=False, verify=False)
    assert response.status_code == 200
