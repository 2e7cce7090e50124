"""The suites of a check. Each runs in a separate process.

The same seed generates the same requests in the same order on servers with equal responses: a suite derives its data
from the seed, the contract and the responses, never from the clock, the machine or the working directory. The following
may differ: ids that the server generates and values derived from them (an event needs an unused id), boundaries of
forms, the names of Schemathesis's cases, and the order of requests that a rule sends concurrently. On a server with
different responses, because it has older messages or violates the contract, Schemathesis continues with other requests.
Other versions of Schemathesis or Hypothesis generate other cases.
"""

import gzip
import json
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, Protocol

from contract_tests.evidence import FOLDER, RUN_RECORD
from contract_tests.target import VARIABLE, CheckTarget
from contract_tests.tokens import Tokens

if TYPE_CHECKING:
    from contract_tests.verdict import CheckFinding

Profile = Literal["quick", "full"]
SPECS = ("web-messages", "subscriptions")
COMPATIBILITY_SPECS = ("web-messages-3.2", "oep-integrator-1.5")
"""Contracts that a server need not have, so that they are checked only by name."""
KINDS = ("rules", "schema", "raw-bytes")
"""The kinds of suites. Raw bytes belong to the full profile."""

HERE = Path(__file__).parent
EXAMPLES: dict[Profile, int] = {"quick": 20, "full": 400}
"""Cases per operation that Schemathesis generates, in addition to those derived from the schemas."""

_FILES = {
    "subscriptions": re.compile("test_(subscription|event|delivery|receipt)"),
    "web-messages-3.2": re.compile("test_municipal_message"),
    "oep-integrator-1.5": re.compile("test_case_message"),
}
"""The files of rules and raw bytes of each contract; all others are of web messages."""
# The same event gets 202 the first time and 200 later. Schemathesis infers a link from the 200 to the receipts, which
# would exist in some runs of a sequence only, and Hypothesis rejects data that change between runs.
_WITHOUT_INFERRED_LINKS = "[phases.stateful.inference]\nalgorithms = []\n"

_KEY, _CERTIFICATE = "BUDKAVLE_CONTRACT_KEY", "BUDKAVLE_CONTRACT_CERTIFICATE"
WITH_TOKEN = "BUDKAVLE_CONTRACT_WITH_TOKEN"
"""The environment variable with `yes` if the generated requests have the token instead of a key."""


class SuiteProcess(Protocol):
    """The process of a suite, with methods of `subprocess.Popen`."""

    def wait(self, timeout: float | None = None) -> int: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


StartSuite = Callable[[Sequence[str], Mapping[str, str], IO[bytes]], AbstractContextManager[SuiteProcess]]


def start_suite(command: Sequence[str], environment: Mapping[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the process of a suite; its output is written to the log."""
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        # The terminal interrupts only this process, which ends the suite when no request is pending.
        process_group=0,
    )


@dataclass(frozen=True)
class Check:
    """The options of a check."""

    target: CheckTarget
    spec_folder: Path
    report: Path
    specs: tuple[str, ...] = SPECS
    profile: Profile = "quick"
    kinds: tuple[str, ...] = KINDS
    fail_fast: bool = False
    only: tuple[str, ...] = ()
    """Checks instead of a suite: `FILE` or `FILE::FUNCTION` of rules or raw bytes, patterns of operationIds."""
    baseline: "frozenset[CheckFinding] | None" = None
    """Known findings."""
    new_baseline: Path | None = None
    """The file to which the findings are written."""
    tokens: Tokens | None = None
    """The tokens in the target's file, to renew them."""
    start: StartSuite = start_suite


@dataclass(frozen=True)
class Suite:
    """One process that runs checks, and its output files."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    junit: Path
    log: Path
    uses_system: bool = False
    """Whether it uses the subscriptions of the system, so that no other such suite may run at the same time."""

    @property
    def run_record(self) -> Path:
        return Path(self.environment[RUN_RECORD])


def plan_lanes(check: Check, work: Path) -> list[list[list[Suite]]]:
    """Return the stages of a check. Each has lanes that run concurrently; the suites of a lane run one after the other.

    A lane has the suites of one contract, since only those of the subscriptions use the subscriptions of the system.
    Raw bytes follow alone, because they assert that nothing was stored. `work` is a temporary folder with the target's
    file.
    """
    # Files that are given by name may be those of any contract.
    specs = (*SPECS, *COMPATIBILITY_SPECS) if check.only else check.specs
    lanes = [list(_plan_lane(check, work, spec)) for spec in specs]
    raw = check.profile == "full" and "raw-bytes" in check.kinds
    last = list(_pytest(check, work, "raw bytes", "raw_bytes", specs)) if raw else []
    return [[lane for lane in lanes if lane], [last] if last else []]


def _plan_lane(check: Check, work: Path, spec: str) -> Iterator[Suite]:
    if "rules" in check.kinds:
        yield from _pytest(check, work, f"rules of {spec}", "rules", (spec,))
    if "schema" in check.kinds and spec in check.specs:
        yield _schemathesis(check, work, spec)


def target_file(work: Path) -> Path:
    return work / "target.json"


def collect_run_records(work: Path) -> Path:
    """Return a file with the lines that all suites have recorded."""
    whole = work / "run_record"
    records = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(work.glob("*.run_record"))]
    whole.write_text("".join(records), encoding="utf-8")
    return whole


# `-P`: never import modules from the working directory.
def _pytest(check: Check, work: Path, name: str, folder: str, specs: Sequence[str]) -> Iterator[Suite]:
    """Yield the suite of the files of these contracts, unless there are none."""
    junit = check.report / f"{name.replace(' of ', '-').replace(' ', '-')}.xml"
    chosen = check.only or [path.name for path in sorted((HERE / folder).glob("test_*.py"))]
    files = [str(HERE / folder / each) for each in chosen if find_spec(each) in specs]
    if not files:
        return
    command = [
        *(sys.executable, "-P", "-m", "pytest", "--noconftest", "-c", str(HERE / "suite.ini")),
        *("--rootdir", str(HERE.parent), "-p", "contract_tests.plugin", "--junitxml", str(junit), "-v"),
        *(["-x"] if check.fail_fast else []),
        *("-m", "not own and not full" if check.profile == "quick" else "not own"),
        *files,
    ]
    uses_system = "subscriptions" in specs
    environment = _environment(check, work, junit.stem)
    yield Suite(name, tuple(command), environment, junit, junit.with_suffix(".log"), uses_system)


def find_spec(name: str) -> str:
    """Return the contract of a file of rules or raw bytes."""
    return next((spec for spec, names in _FILES.items() if names.match(name)), "web-messages")


def _schemathesis(check: Check, work: Path, spec: str) -> Suite:
    target, name = check.target, f"schema-{spec}"
    junit = check.report / f"{name}.xml"
    is_of_systems = spec == "subscriptions"
    config = work / f"{name}.toml"
    in_header = is_of_systems and not target.is_tls
    key = (target.publish_key if is_of_systems else None) or target.api_key
    uses_token = key is None and target.token_file is not None
    headers = [
        *([] if uses_token else [f'apikey = "${{{_KEY}}}"']),
        *([f'Client-Cert = "${{{_CERTIFICATE}}}"'] if in_header else []),
    ]
    # Keys must not appear in a command line, which all processes of the machine can read.
    config.write_text(
        f"headers = {{ {', '.join(headers)} }}\n"
        + read_settings(spec)
        + (_WITHOUT_INFERRED_LINKS if is_of_systems else ""),
        encoding="utf-8",
    )
    _write_unicode_table(_storage(work))
    header = "none" if target.certificate is None else target.certificate.header
    command = [
        *(sys.executable, "-P", "-m", "schemathesis.cli", "--config-file", str(config), "run"),
        *(str(check.spec_folder / f"{spec}.yaml"), "--url", target.url, "--seed", str(target.seed)),
        *("--max-examples", str(EXAMPLES[check.profile]), "--report", "junit,json"),
        *("--report-junit-path", str(junit), "--report-json-path", str(junit.with_suffix(".json"))),
        *(["--max-failures", "1"] if check.fail_fast else []),
        *(["--include-operation-id-regex", "|".join(check.only)] if check.only else []),
        *(["--tls-verify", target.ca] if target.ca else []),
    ]
    presents_certificate = is_of_systems or (uses_token and target.has_bound_token)
    if target.is_tls and presents_certificate and target.certificate is not None:
        command += ["--request-cert", target.certificate.file]
        command += [] if target.certificate.key is None else ["--request-cert-key", target.certificate.key]
    environment = {
        **_environment(check, work, name),
        _KEY: key or "none",
        _CERTIFICATE: header,
        WITH_TOKEN: "yes" if uses_token else "",
    }
    return Suite(f"schema of {spec}", tuple(command), environment, junit, junit.with_suffix(".log"), is_of_systems)


def read_settings(spec: str) -> str:
    """Return the settings of Schemathesis. The compatibility APIs ignore unknown query parameters."""
    settings = (HERE / "schemathesis.toml").read_text(encoding="utf-8")
    if spec not in COMPATIBILITY_SPECS:
        return settings
    return settings.replace("[generation]\n", "[generation]\nallow-extra-parameters = false\n")


def _write_unicode_table(storage: Path) -> None:
    """Write the characters that UTF-8 encodes, all but surrogates, and those that it decodes differently, none.

    Without this file, Hypothesis encodes each of the 1.1 million characters, which takes more than a second.
    """
    table: tuple[list[list[int]], list[list[int]]] = [[0, 0xD7FF], [0xE000, sys.maxunicode]], []
    file = storage / "unicode_data" / unicodedata.unidata_version / "codec-v2-utf-8.json.gz"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(json.dumps(table).encode()))


def _storage(work: Path) -> Path:
    """Return the folder of Hypothesis."""
    return work / "hypothesis"


def _environment(check: Check, work: Path, name: str) -> dict[str, str]:
    """Return the environment of a suite, without variables that change the checks or set a proxy."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not re.match("(?i)(PYTEST|SCHEMATHESIS|HYPOTHESIS|BUDKAVLE_CONTRACT)_|.*_PROXY$", name)
    }
    return inherited | {
        VARIABLE: str(target_file(work)),
        RUN_RECORD: str(work / f"{name}.run_record"),
        FOLDER: str(check.report),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        # In a wheel, only the command itself has this package on its import path.
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]),
        # A fixed hash seed makes the iteration order of sets reproducible.
        "PYTHONHASHSEED": "0",
        # Keep the database of Hypothesis out of the working directory.
        "HYPOTHESIS_STORAGE_DIRECTORY": str(_storage(work)),
        # A plugin of trio imports all of trio, half a second, to seed what no check uses.
        "HYPOTHESIS_NO_PLUGINS": "1",
        "NO_PROXY": "*",
    }
