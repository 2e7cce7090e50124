"""After the checks: deletes what they made, and gives the system back the subscriptions that it had."""

import random
import re
from pathlib import Path
from typing import Any

import requests

from contract_tests.api import SYNC, Api
from contract_tests.reading import MALFORMED
from contract_tests.target import Target

_MESSAGE = re.compile(r"/webmessages/[0-9a-fA-F-]{36}")
_GONE = {requests.codes.no_content, requests.codes.not_found}
_NO_ANSWER = (requests.RequestException, OSError, AssertionError, *MALFORMED)
"""Whatever ends the deletion of messages, the subscriptions are put back all the same."""
_LONGEST = 200
"""Of what is told of an answer."""


def clean_up(target: Target, diary: Path, current: list[dict[str, Any]], kept: Path) -> list[str]:
    """What could not be cleaned up, a line each; then `kept` stays, the body that puts the subscriptions back."""
    api = Api(target, random.Random(target.seed))  # Nothing secret is made up here.
    try:
        left = _delete_messages(api, diary)
        return left if target.system is None else left + _put_back(api, current, kept)
    finally:
        api.close()


def _delete_messages(api: Api, diary: Path) -> list[str]:
    lines = diary.read_text(encoding="utf-8").splitlines() if diary.exists() else []
    made = dict.fromkeys(line.removeprefix("made ") for line in lines if line.startswith("made "))
    paths = [api.target.below(path).removeprefix(api.target.url) for path in made]
    # What else a server calls its places is its own.
    ours = [path for path in paths if _MESSAGE.fullmatch(path)]
    left: list[str] = []
    because = ""
    for number, path in enumerate(ours):
        try:
            status = api.call("DELETE", path).status_code
        except _NO_ANSWER as exc:
            # Whoever does not answer is not asked some hundred times.
            left, because = left + ours[number:], str(exc)[:_LONGEST]
            break
        if status not in _GONE:
            left, because = [*left, path], f"{because or status}"
    return [f"{len(left)} messages could not be deleted, {left[0]} among them: {because}"] if left else []


def _put_back(api: Api, current: list[dict[str, Any]], kept: Path) -> list[str]:
    try:
        response = api.sync(current)
        if response.status_code == requests.codes.ok:
            kept.unlink(missing_ok=True)
            return []
        because = f"{response.status_code} {response.text}"
    except _NO_ANSWER as exc:
        because = str(exc)
    told = f": POST {SYNC} with {kept}" if current else ", and has some of the check's: it had none"
    return [f"system {api.target.system} has not got its subscriptions back{told} ({because[:_LONGEST]})"]
