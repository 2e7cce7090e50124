"""Reads of cases for callers: one Open-E that does not answer delays no read of another one."""

import asyncio
import socket
from collections.abc import Callable

import pytest

from domain.errors import Overloaded
from domain.web_messages import OepInstance
from open_e.accounts import Account
from open_e.case_reads import CaseReads
from open_e.messageapi import MessageApi, ReadBackFailed
from tests.open_e.peers import Peer

pytestmark = pytest.mark.anyio


def never_respond(connection: socket.socket, _number: int) -> None:
    while connection.recv(65536):
        pass


def respond(connection: socket.socket, _number: int) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<Messages/>")


async def test_silent_open_e_blocks_no_other(peer: Callable[[Callable[[socket.socket, int], None]], Peer]) -> None:
    accounts = {"2260/external": Account(peer(never_respond).url), OepInstance.EXTERNAL: Account(peer(respond).url)}
    reads = CaseReads(MessageApi(accounts, timeout=1, threads=2), threads=2, queue_timeout=0.2)
    silent = asyncio.create_task(reads.list_by_case("2260/external", 1))
    with pytest.raises(Overloaded, match="busy"):
        await asyncio.gather(*(reads.list_by_case("2260/external", 1) for _ in range(2)))
    assert await reads.list_by_case(OepInstance.EXTERNAL, 1) == []
    assert not silent.done()
    with pytest.raises(ReadBackFailed, match="did not answer"):
        await silent
    reads.close()
