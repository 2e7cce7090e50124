"""Compare getting a message with an access token to getting it with an API key, on one warm service, in turns.

The tokens are signed with RS256, as most issuers do. A caller uses its token for many requests, so the service has
verified it before; the figures of a new token for each request have no aim. Exits with 1 if the aim is not met.

Run: python -m benchmarks.tokens [--database SQLite] [--rounds 7] [--seconds 1.5]
"""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median

from joserfc import jwt
from joserfc.jwk import RSAKey

from benchmarks.load import Job, Result, build_request, create_requests, run_load
from benchmarks.processor import read_processor_seconds
from benchmarks.stage import Program, Stage
from benchmarks.turns import run_on_databases

CONNECTIONS = 16
CALLERS = 16
"""The number of tokens that are in use at the same time."""

REQUESTS_PER_SECOND = 4000
"""More than the service can answer with new tokens, so that none occurs twice in a round."""
ROUNDS_WITH_NEW = 3

AIM = 0.9
"""The smallest ratio of requests per second with a token to those with a key."""

KEY, TOKEN, NEW = "with a key", "with a token", "with a new token for each request"


class BenchmarkIssuer:
    """Signs tokens with RS256, and writes the files with which a service accepts them."""

    def __init__(self) -> None:
        self._key = RSAKey.generate_key(2048, {"alg": "RS256", "use": "sig"}, auto_kid=True)
        self._created = 0

    def write_files(self, folder: Path) -> Path:
        (folder / "jwks.json").write_text(json.dumps({"keys": [self._key.as_dict(private=False)]}))
        issuer = {
            "issuer": "https://issuer.example",
            "audience": "https://budkavle.example",
            "algorithms": ["RS256"],
            "jwks": "file:jwks.json",
            "scopes": {"map": {"wms:write": "messages"}},
        }
        file = folder / "issuers.yaml"
        # JSON is YAML.
        file.write_text(json.dumps({"issuers": [issuer]}))
        return file

    def create_token(self) -> str:
        """Return a token that differs from all others."""
        self._created += 1
        now = int(time.time())
        claims = {
            "iss": "https://issuer.example",
            "aud": "https://budkavle.example",
            "sub": "benchmark",
            "client_id": "benchmark",
            "iat": now,
            "exp": now + 3600,
            "jti": str(self._created),
            "scope": "wms:write",
        }
        return jwt.encode({"alg": "RS256", "typ": "at+jwt", "kid": self._key.kid}, claims, self._key)


@dataclass(frozen=True)
class Sample:
    """The result of a round, and the processor time of the service per request in microseconds."""

    result: Result
    processor: float


def main() -> None:
    run_on_databases("Get with an access token", f"{CONNECTIONS} connections, {CALLERS} tokens (RS256)", _measure, AIM)


def _measure(database: str, rounds: int, seconds: float, warm_up: float) -> float:
    """Print the figures of one database, and return the ratio."""
    issuer = BenchmarkIssuer()
    samples: dict[str, list[Sample]] = {KEY: [], TOKEN: [], NEW: []}
    with tempfile.TemporaryDirectory(prefix="budkavle-tokens-") as folder, Stage() as stage:
        issuers = issuer.write_files(Path(folder))
        program = stage.start_service(stage.create_database(database), issuers=issuers)
        paths = run_load(Job(program.port, create_requests(program.key), CONNECTIONS, 1, most=64)).locations
        known = [issuer.create_token() for _ in range(CALLERS)]
        requests = {
            KEY: [build_request("GET", path, program.key) for path in paths],
            TOKEN: [_build_with_token(path, token) for path, token in zip(paths, cycle(known), strict=False)],
        }
        for way, each in requests.items():
            _load(program, way, each, warm_up)
        for turn in range(rounds):
            for way in (KEY, TOKEN) if turn % 2 else (TOKEN, KEY):
                samples[way].append(_load(program, way, requests[way], seconds))
        for _ in range(min(rounds, ROUNDS_WITH_NEW)):
            new = (issuer.create_token() for _ in range(int(seconds * REQUESTS_PER_SECOND)))
            once = [_build_with_token(path, token) for token, path in zip(new, cycle(paths), strict=False)]
            samples[NEW].append(_load(program, NEW, once, seconds))
    ratios = [
        with_token.result.per_second / with_key.result.per_second
        for with_key, with_token in zip(samples[KEY], samples[TOKEN], strict=True)
    ]
    for way, of_way in samples.items():
        figures = [
            _format(of_way, lambda sample: sample.result.per_second, 0),
            _format(of_way, lambda sample: sample.result.p99, 1),
            _format(of_way, lambda sample: sample.processor, 0),
        ]
        of_tokens = [f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", f"{AIM:g}"]
        print(f"| {database} | {way} | {' | '.join(figures + (of_tokens if way == TOKEN else ['', '']))} |", flush=True)
    return median(ratios)


def _format(samples: list[Sample], read: Callable[[Sample], float], digits: int) -> str:
    return f"{median(map(read, samples)):.{digits}f}"


def _build_with_token(path: str, token: str) -> str:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"


def _load(program: Program, way: str, requests: list[str], seconds: float) -> Sample:
    """Get messages. Raises `RuntimeError` unless each of them was returned."""
    before = read_processor_seconds(program.pid)
    result = run_load(Job(program.port, requests, CONNECTIONS, seconds))
    used = read_processor_seconds(program.pid) - before
    if result.refused or result.statuses.keys() != {"200"}:
        raise RuntimeError(f"{way}: unexpected responses: {result.statuses}, {result.broken} broken")
    return Sample(result, used * 1e6 / max(result.requests, 1))


if __name__ == "__main__":
    main()
