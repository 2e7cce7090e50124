"""Run `budkavle serve` as a process."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from domain.api_keys import ApiKey, hash_key
from persistence import api_keys
from tests.databases import with_database
from tests.factories import NOW
from tests.processes import Process, budkavle, running

KEY = "key-of-the-tests"


def put_key(url: str, name: str = "tests", key: str = KEY) -> None:
    """Store a key with the scope `messages`."""
    stored = ApiKey(hash_key(key.encode()), name, ("messages",), NOW)
    with_database(url, lambda database: api_keys.create(database, stored))


@dataclass
class Served:
    process: Process
    url: str
    client: httpx.Client

    @property
    def port(self) -> int:
        return httpx.URL(self.url).port or 0


@contextmanager
def served(database_url: str, **settings: object) -> Iterator[Served]:
    """Yield the service on a free port; `client` sends the key of `put_key`."""
    with running(*budkavle("serve", "--port", "0"), database_url=database_url, **settings) as process:
        url = process.wait_for("Budkavle listens on ")
        with httpx.Client(base_url=url, headers={"apikey": KEY}, timeout=60, trust_env=False) as client:
            yield Served(process, url, client)
