"""Run `budkavle serve` as a process."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from domain.api_keys import ApiKey, hash_key
from persistence import api_keys
from tests.databases import run_with_database
from tests.factories import NOW
from tests.processes import Process, budkavle, running

KEY = "key-of-the-tests"


def put_key(url: str, name: str = "tests", key: str = KEY) -> None:
    """Store a key with the scope `messages`."""
    stored = ApiKey(hash_key(key.encode()), name, ("messages",), NOW)
    run_with_database(url, lambda database: api_keys.create(database, stored))


@dataclass
class RunningProgram:
    process: Process
    url: str
    client: httpx.Client

    @property
    def port(self) -> int:
        return httpx.URL(self.url).port or 0


def create_plain_client(url: str, key: str) -> httpx.Client:
    """Return a client without TLS. It trusts no CA: to load those of the system takes longer than most tests."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.Client(base_url=url, headers={"apikey": key}, verify=context, timeout=60, trust_env=False)


@contextmanager
def running_program(database_url: str, **settings: object) -> Iterator[RunningProgram]:
    """Yield the service on a free port; `client` sends the key of `put_key`."""
    with running(*budkavle("serve", "--port", "0"), database_url=database_url, **settings) as process:
        url = process.wait_for("Budkavle listens on ")
        with create_plain_client(url, KEY) as client:
            yield RunningProgram(process, url, client)
