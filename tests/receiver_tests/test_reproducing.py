"""The commands of a report send the requests that the check sent, with valid signatures where it sent valid ones."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from receiver_tests.cases import SUITES
from receiver_tests.deliveries import Delivery, DeliveryFactory
from receiver_tests.reproducing import VARIABLES, describe_variables, format_commands
from receiver_tests.sending import Sender
from receiver_tests.target import ReceiverTarget
from receiver_tests.trial import Trial
from tests.contract_tests.recording import skip_without
from tests.processes import run_program
from tests.receiver_tests.right_receiver import Request, RightReceiver, serving
from tests.webhook_receivers import KEY, SECRET

TARGET = ReceiverTarget("http://127.0.0.1:8090/webhook?a=1&b=[2]", SECRET, KEY)
NOT_IN_A_COMMAND = {"a delivery while another one does not end"}
"""Cases with requests that curl cannot send."""


class RecordingReceiver(RightReceiver):
    """A right receiver that records requests and its answers, without what differs between two of the same."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple] = []

    def respond(self, request: Request) -> int | None:
        status = super().respond(request)
        is_signed = self.is_authentic(request)
        self.requests.append((request.method, request.id, request.body, is_signed, self.is_recent(request), status))
        return status


async def run_case(target: ReceiverTarget, run: Callable[[Trial], Awaitable[None]]) -> list[Delivery]:
    async with Sender(target) as sender:
        trial = Trial(sender, DeliveryFactory(1, 101, 202, "seed"), is_full=False)
        await run(trial)
        return trial.sent


@pytest.mark.parametrize("suite", SUITES)
def test_commands_send_the_same_requests(suite: str, tmp_path: Path) -> None:
    skip_without("curl", "openssl")
    receiver = RecordingReceiver()
    with serving(receiver) as url:
        target = ReceiverTarget(url, SECRET, KEY)
        sent: list[Delivery] = []
        for case in SUITES[suite]:
            if case.needs != "--client-cert" and case.name not in NOT_IN_A_COMMAND:
                sent += asyncio.run(run_case(target, case.run))
        # The order of requests at once, and of one that does not end, is not fixed.
        by_check, receiver.requests = sorted(map(repr, receiver.requests)), []
        commands = [line for delivery in sent for line in format_commands([delivery], target, tmp_path)]
        (tmp_path / "script.sh").write_text("\n".join([VARIABLES, f"WEBHOOK_SECRET={SECRET}", *commands]))
        result = run_program("/bin/sh", str(tmp_path / "script.sh"), folder=tmp_path)
    by_commands = sorted(map(repr, receiver.requests))
    assert len(re.findall("^HTTP/1.1 [0-9]{3} ", result.stdout, re.MULTILINE)) == len(commands)
    assert by_commands == by_check
    assert SECRET.removeprefix("whsec_") not in "".join(commands)


def test_secret_without_padding_can_be_used(tmp_path: Path) -> None:
    skip_without("curl", "openssl")
    receiver = RightReceiver()
    with serving(receiver) as url:
        target = ReceiverTarget(url, SECRET, KEY)
        delivery = DeliveryFactory(1, 101, 202, "seed").create()
        (command,) = format_commands([delivery], target, tmp_path)
        code = f"{VARIABLES}\nWEBHOOK_SECRET={SECRET.rstrip('=')}\n{command}"
        assert "HTTP/1.1 204" in run_program("/bin/sh", "-c", code).stdout
    assert receiver.list_ids() == [delivery.id]


def test_commands_are_limited(tmp_path: Path) -> None:
    delivery = DeliveryFactory(1, 101, 202, "seed").create()
    first, *commands = format_commands([replace(delivery, id=str(number)) for number in range(20)], TARGET, tmp_path)
    assert first == "# 8 calls before these are left out"
    assert [re.findall("webhook-id: ([0-9]+)", command) for command in commands] == [[str(n)] for n in range(8, 20)]


def test_commands_for_unsigned_deliveries_need_no_variables(tmp_path: Path) -> None:
    target = replace(TARGET, secret=None, key=None)
    (command,) = format_commands([DeliveryFactory(1, 101, 202, "seed").create()], target, tmp_path)
    assert "signature" not in command
    assert "--globoff 'http://127.0.0.1:8090/webhook?a=1&b=[2]'" in command
    assert describe_variables(target, tmp_path) == "The commands need no variables."
