"""Check the options that Python tests pass to a mock, so that an error is raised where the option is given."""

from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from mock_open_e.behaviour.conditions import Conditions
from mock_open_e.behaviour.orders import is_integer
from mock_open_e.behaviour.scenario import Scenario
from mock_open_e.behaviour.state import Limits


def check_options(**options: Any) -> None:
    """Raise TypeError with a line for each invalid option. None is valid for all options with a default."""
    faults = [
        f"{name} must be {_RULES[name][0]}, not {value!r}"
        for name, value in options.items()
        if value is not None and not _RULES[name][1](value)
    ]
    if options.get("password") is not None and options.get("username") is None:
        faults.append("password requires username")
    if faults:
        raise TypeError("invalid options of the mock Open-E: " + "; ".join(faults))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_case(value: Any) -> bool:
    return is_integer(value) and value >= 1


def _are_cases(value: Any) -> bool:
    return _is_case(value) or (_is_collection(value) and all(map(_is_case, value)))


def _are_prefixes(value: Any) -> bool:
    # A str is a collection too: each of its characters would become a prefix.
    return _is_collection(value) and all(map(_is_text, value))


def _is_collection(value: Any) -> bool:
    return isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping)


def _is_callback(value: Any) -> bool:
    if not _is_text(value):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and len(parts.path) > 1


_CALLBACK = ("the complete URL of a callback, such as 'https://open-e.example/api/callback'", _is_callback)

_RULES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "url_external": _CALLBACK,
    "url_internal": _CALLBACK,
    "cases": ("a case number of at least 1, or a collection of them such as {1068, 1069}", _are_cases),
    "username": ("a str", _is_text),
    "password": ("a str", _is_text),
    "passthrough": ("a list of URL prefixes, such as ['http://127.0.0.1']", _are_prefixes),
    "scenario": ("a mock_open_e.Scenario", lambda value: isinstance(value, Scenario)),
    "strict": ("True or False", lambda value: isinstance(value, bool)),
    "conditions": ("a mock_open_e.Conditions", lambda value: isinstance(value, Conditions)),
    "limits": ("a mock_open_e.Limits", lambda value: isinstance(value, Limits)),
}
"""The description and the check of each option."""
