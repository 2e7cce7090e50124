"""The peers as programs, and the checks that make them comparable: refused requests and durable commits."""

import ctypes
import http.client
import json
import os
import platform
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.stage import Program, Stage, free_port

PEERS = Path(__file__).parent / "peers"
NODE = PEERS / "node"
NODE_PEERS = {"Express": "express.mjs", "Fastify": "fastify.mjs"}
PYTHON_PEERS = {"FastAPI": "fastapi_raw", "Litestar": "litestar_raw"}
KEY = "benchmark"
INSTALL_SECONDS = 900
"""better-sqlite3 is compiled where its prebuilt binary cannot be downloaded."""

MESSAGE = {
    "partyId": "81471222-5798-11e9-ae24-57fa13b361e1",
    "message": "A message",
    "externalReferences": [{"key": "errandNumber", "value": "A-1"}],
}
INVALID_BODIES = {
    "cut-off JSON": json.dumps(MESSAGE)[:-1],
    "an array": json.dumps([MESSAGE]),
    "no message": json.dumps({name: value for name, value in MESSAGE.items() if name != "message"}),
    "an empty message": json.dumps(MESSAGE | {"message": ""}),
    "a number as message": json.dumps(MESSAGE | {"message": 1}),
    "an unknown property": json.dumps(MESSAGE | {"unknown": True}),
    "a party id that is no UUID": json.dumps(MESSAGE | {"partyId": "81471222"}),
    "no references": json.dumps(MESSAGE | {"externalReferences": []}),
    "a key of two letters": json.dumps(MESSAGE | {"externalReferences": [{"key": "ab", "value": "1"}]}),
    "a value of 129 letters": json.dumps(MESSAGE | {"externalReferences": [{"key": "abc", "value": "1" * 129}]}),
}
UNAUTHENTICATED = (401, 403)
INVALID = (400, 422)
COMMITS = 20
MAX_UNFLUSHED = 2
"""Background processes of PostgreSQL write WAL that no commit waits for."""
CACHESTAT = 451
"""The number of the system call, the same on all architectures; Linux 6.5 or later."""


def install_node_peers() -> None:
    """Install the Node peers if necessary. Exit if they cannot run, since the aims compare with them."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        sys.exit("Node and npm are needed to run the peers.")
    wanted, installed = NODE / "package-lock.json", NODE / "node_modules" / "installed.json"
    if installed.exists() and installed.read_bytes() == wanted.read_bytes():
        return
    command = ["npm", "ci", "--no-audit", "--no-fund"]
    result = subprocess.run(command, cwd=NODE, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if result.returncode != 0:
        sys.exit(f"npm ci failed: {result.stderr.strip()[-500:]}")
    shutil.copy(wanted, installed)


def start_peer(stage: Stage, name: str, database_url: str) -> Program:
    """Start a peer with an empty database."""
    port = free_port()
    environment = {"DATABASE_URL": database_url, "API_KEY": KEY, "PORT": str(port), "NODE_ENV": "production"}
    if name in NODE_PEERS:
        return stage.start(name, port, ["node", NODE_PEERS[name]], environment, NODE, KEY)
    command = [sys.executable, "-m", "uvicorn", f"{PYTHON_PEERS[name]}:app", "--app-dir", str(PEERS)]
    command += ["--port", str(port), "--no-access-log", "--log-level", "warning"]
    return stage.start(name, port, command, environment, key=KEY)


def check_program(name: str, program: Program, database_url: str) -> None:
    """Raise an error unless the program checks key and body, stores durably, and returns what it stored."""
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=30)

    def call(method: str, path: str, body: str | None = None, key: str = program.key) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json"} | ({"apikey": key} if key else {})
        connection.request(method, path, body, headers)
        return connection.getresponse()

    def expect(expected: tuple[int, ...], description: str, response: http.client.HTTPResponse) -> Any:
        content = response.read()
        if response.status not in expected:
            raise RuntimeError(f"{name} responds to {description} with {response.status}: {content.decode()[:200]}")
        return content

    def create() -> str:
        response = call("POST", "/webmessages", json.dumps(MESSAGE))
        expect((201,), "a valid body", response)
        return str(response.headers["location"])

    path = create()
    for key in ("", "wrong"):
        expect(UNAUTHENTICATED, f"a post with the key {key!r}", call("POST", "/webmessages", json.dumps(MESSAGE), key))
        expect(UNAUTHENTICATED, f"a get with the key {key!r}", call("GET", path, key=key))
    for description, body in INVALID_BODIES.items():
        expect(INVALID, description, call("POST", "/webmessages", body))
    expect((*INVALID, 404), "an id that is no UUID", call("GET", "/webmessages/none"))
    stored = json.loads(expect((200,), "a get", call("GET", path)))
    party = json.loads(expect((200,), "a list", call("GET", f"/webmessages/recipients/{MESSAGE['partyId']}")))
    if not _is_subset(MESSAGE, stored) or len(party) != 1:
        raise RuntimeError(f"{name} returns another message than it stored: {stored}, {party}")
    _check_durability(name, database_url, create)
    connection.close()


def _is_subset(part: Mapping[str, Any], whole: Mapping[str, Any]) -> bool:
    return all(whole.get(name) == value for name, value in part.items())


def _check_durability(name: str, database_url: str, create: Callable[[], str]) -> None:
    """Raise an error unless the log of the database is on disk when the response to a create arrives."""
    if database_url.startswith("sqlite"):
        path = Path(database_url.removeprefix("sqlite:///"))
        with sqlite3.connect(path) as database:
            mode = database.execute("pragma journal_mode").fetchone()[0]
        database.close()
        if mode != "wal":
            raise RuntimeError(f"{name} uses the journal mode {mode}, Budkavle wal")
        counts = []
        for _ in range(COMMITS):
            create()
            counts.append(_count_unwritten_pages(path.with_name(f"{path.name}-wal")))
        if None in counts:
            print(f"Not checked, since it needs Linux 6.5: {name} responds after the commit is on disk.\n")
        unflushed = sum(bool(count) for count in counts)
    else:
        with psycopg.connect(database_url, autocommit=True) as database:
            unflushed = 0
            query = "select pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()"
            for _ in range(COMMITS):
                create()
                unflushed += database.execute(query).fetchone() == (True,)
    if unflushed > MAX_UNFLUSHED:
        raise RuntimeError(f"{name} responds before the commit is on disk: {unflushed} of {COMMITS} times")


def _count_unwritten_pages(path: Path) -> int | None:
    """Return the number of pages of a file that are not on disk yet, None where the kernel cannot count them."""
    if platform.system() != "Linux":
        return None
    library = ctypes.CDLL(None, use_errno=True)
    counts = ctypes.create_string_buffer(40)
    file = os.open(path, os.O_RDONLY)
    try:
        if library.syscall(CACHESTAT, file, struct.pack("QQ", 0, 0), counts, 0) != 0:
            return None
    finally:
        os.close(file)
    _, dirty, in_writeback, *_ = struct.unpack("5Q", counts.raw)
    return int(dirty + in_writeback)
