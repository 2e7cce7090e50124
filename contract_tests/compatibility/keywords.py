"""The keywords of a schema, each with the rule that decides which change of its value is a difference."""

import json
from collections.abc import Callable
from typing import Any

from contract_tests.compatibility.differences import LOOK, Side, describe_change

Rule = Callable[[str, Side, Any, Any], str | None]
"""A rule: keyword, side, old and new value -> text of the difference, or None for a compatible change.

The values are None where the keyword is absent; they differ.
"""


def _narrows(side: Side, keyword: str, was: Any, now: Any, *, narrower: bool) -> str | None:
    """Return the difference if a request becomes narrower or a response becomes wider."""
    return describe_change(keyword, was, now) if narrower == (side is Side.REQUESTS) else None


def _lower_limit(keyword: str, side: Side, was: Any, now: Any) -> str | None:
    nothing = float("-inf") if keyword == "minimum" else 0
    before, after = (nothing if value is None else value for value in (was, now))
    return None if before == after else _narrows(side, keyword, was, now, narrower=after > before)


def upper_limit(keyword: str, side: Side, was: Any, now: Any) -> str | None:
    """Compare an upper limit, also that of a body in bytes."""
    before, after = (float("inf") if value is None else value for value in (was, now))
    return None if before == after else _narrows(side, keyword, was, now, narrower=after < before)


def _restriction(keyword: str, side: Side, was: Any, now: Any) -> str | None:
    """True is narrower than false, which is the default."""
    return None if bool(was) == bool(now) else _narrows(side, keyword, was, now, narrower=bool(now))


def _nullable(_keyword: str, side: Side, was: Any, now: Any) -> str | None:
    if bool(was) == bool(now) or bool(now) == (side is Side.REQUESTS):
        return None
    return "may be null now" if now else "may no longer be null"


def _presence(keyword: str, side: Side, was: Any, now: Any) -> str | None:
    """Adding the keyword narrows, removing it widens, and changing its value does both."""
    if (now if side is Side.REQUESTS else was) is None:
        return None
    return describe_change(keyword, was, now)


def _type(keyword: str, side: Side, was: Any, now: Any) -> str | None:
    # Removing a type from a request rejects nothing, but generated clients lose the type.
    widens = side is Side.REQUESTS and (was, now) == ("integer", "number")
    narrows = side is Side.ANSWERS and was is None
    return None if widens or narrows else describe_change(keyword, was, now)


def _enum(keyword: str, side: Side, was: Any, now: Any) -> str | None:
    if was is None or now is None:
        return _presence(keyword, side, was, now)
    lost = [value for value in was if value not in now]
    added = [value for value in now if value not in was]
    words = [f"no longer has {json.dumps(value, ensure_ascii=False)}" for value in lost]
    if side is Side.ANSWERS:
        words += [f"has {json.dumps(value, ensure_ascii=False)} now" for value in added]
    return f"{keyword} {' and '.join(words)}" if words else None


def _pattern(keyword: str, side: Side, was: Any, now: Any) -> str | None:
    # The rule does not compute which of two patterns accepts more, and patterns are too long to print.
    if was is None:
        return f"{keyword} is new" if side is Side.REQUESTS else None
    if now is None:
        return f"{keyword} is gone" if side is Side.ANSWERS else None
    return f"{keyword} {LOOK}"


def _fixed(keyword: str, _side: Side, was: Any, now: Any) -> str | None:
    return describe_change(keyword, was, now)


def _flag(keyword: str, _side: Side, was: Any, now: Any) -> str | None:
    return None if bool(was) == bool(now) else describe_change(keyword, was, now)


RULES: dict[str, Rule] = {
    "type": _type,
    "format": _presence,
    "nullable": _nullable,
    "enum": _enum,
    "pattern": _pattern,
    "default": _fixed,
    "readOnly": _flag,
    "writeOnly": _flag,
    "uniqueItems": _restriction,
    "exclusiveMinimum": _restriction,
    "exclusiveMaximum": _restriction,
    **dict.fromkeys(("minimum", "minLength", "minItems", "minProperties"), _lower_limit),
    **dict.fromkeys(("maximum", "maxLength", "maxItems", "maxProperties"), upper_limit),
}
"""All keywords that can be compared alone. A change of any other keyword needs a manual check."""
