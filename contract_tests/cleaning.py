"""Clean up after the checks: delete their messages and restore the subscriptions of the system."""

import random
import re
from pathlib import Path
from typing import Any

import requests

from contract_tests.api import SYNC, Api
from contract_tests.reading import MALFORMED
from contract_tests.target import CheckTarget

_MESSAGE = re.compile(r"(/[0-9]{2,4})?/webmessages/[0-9a-fA-F-]{36}")
_GONE = {requests.codes.no_content, requests.codes.not_found}
_NO_ANSWER = (requests.RequestException, OSError, AssertionError, *MALFORMED)
"""Errors of a deletion after which the subscriptions are restored nevertheless."""
_LONGEST = 200
"""Maximum characters of a response in a report."""


def clean_up(target: CheckTarget, run_record: Path, current: list[dict[str, Any]], backup: Path) -> list[str]:
    """Clean up and return one line per failure. If restoring fails, keep the file `backup` with the request body."""
    api = Api(target, random.Random(target.seed))  # These values are not secret.
    try:
        remaining = _delete_messages(api, run_record)
        return remaining if target.system is None else remaining + _restore(api, current, backup)
    finally:
        api.close()


def _delete_messages(api: Api, run_record: Path) -> list[str]:
    lines = run_record.read_text(encoding="utf-8").splitlines() if run_record.exists() else []
    made = dict.fromkeys(line.removeprefix("made ") for line in lines if line.startswith("made "))
    paths = [api.target.below(path).removeprefix(api.target.url) for path in made]
    # Other locations that a server returns are not ours to delete.
    ours = [path for path in paths if _MESSAGE.fullmatch(path)]
    remaining: list[str] = []
    reason = ""
    for number, path in enumerate(ours):
        try:
            status = api.call("DELETE", path).status_code
        except _NO_ANSWER as exc:
            # Do not send hundreds of requests to a server that does not respond.
            remaining, reason = remaining + ours[number:], str(exc)[:_LONGEST]
            break
        if status not in _GONE:
            remaining, reason = [*remaining, path], f"{reason or status}"
    return [f"{len(remaining)} messages could not be deleted, {remaining[0]} among them: {reason}"] if remaining else []


def _restore(api: Api, current: list[dict[str, Any]], backup: Path) -> list[str]:
    try:
        response = api.sync(current)
        if response.status_code == requests.codes.ok:
            backup.unlink(missing_ok=True)
            return []
        reason = f"{response.status_code} {response.text}"
    except _NO_ANSWER as exc:
        reason = str(exc)
    remedy = f": POST {SYNC} with {backup}" if current else ", and has some of the check's: it had none"
    return [f"system {api.target.system} did not get its subscriptions back{remedy} ({reason[:_LONGEST]})"]
