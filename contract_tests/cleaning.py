"""After the checks: deletes what they made, and gives the system back the subscriptions that it had."""

import json
import random
import re
from pathlib import Path
from typing import Any

import requests

from contract_tests.api import Api
from contract_tests.target import Target

_MESSAGE = re.compile(r"/webmessages/[0-9a-fA-F-]{36}")


def clean_up(target: Target, diary: Path, current: list[dict[str, Any]]) -> list[str]:
    """What could not be cleaned up, a line each."""
    api = Api(target, random.Random(target.seed))  # Nothing secret is made up here.
    try:
        left = _delete_messages(api, diary)
        return left if target.system is None else left + _put_back(api, current)
    except requests.RequestException as exc:
        return [f"cleaning up ended: {exc}"]
    finally:
        api.close()


def _delete_messages(api: Api, diary: Path) -> list[str]:
    lines = diary.read_text(encoding="utf-8").splitlines() if diary.exists() else []
    made = dict.fromkeys(line.removeprefix("made ") for line in lines if line.startswith("made "))
    paths = [api.target.below(path).removeprefix(api.target.url) for path in made]
    gone = {requests.codes.no_content, requests.codes.not_found}
    left = [
        path
        for path in paths
        # What else a server calls its places is its own.
        if _MESSAGE.fullmatch(path) and api.call("DELETE", path).status_code not in gone
    ]
    return [f"{len(left)} messages could not be deleted, {left[0]} among them"] if left else []


def _put_back(api: Api, current: list[dict[str, Any]]) -> list[str]:
    response = api.sync(current)
    if response.status_code == requests.codes.ok:
        return []
    whole = json.dumps({"systemIdentifier": api.target.system, "abonnementer": current})
    return [f"the subscriptions could not be put back ({response.status_code}): {whole}"]
