"""Decode JSON objects without the ambiguities that parsers resolve differently."""

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 16
MAX_INTEGER_DIGITS = 16


def parse_object(text: bytes) -> dict[str, Any]:
    """Return the object in a JSON text in UTF-8.

    Raises `ValueError` for anything else, and for duplicate names, NaN, infinite numbers, integers of more than
    `MAX_INTEGER_DIGITS`, unpaired surrogates, and more than `MAX_DEPTH` levels.
    """
    try:
        value = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_build_object,
            parse_constant=_refuse_constant,
            parse_int=_parse_integer,
            parse_float=_parse_float,
        )
        if text.count(b"{") + text.count(b"[") > MAX_DEPTH:
            _check_depth(value, MAX_DEPTH)
        if b"\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004  # Callers handle one type.
    return value


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("duplicate name")
    return values


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("not a number")


def _parse_integer(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS:
        raise ValueError("integer out of range")
    return int(digits)


def _parse_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("number out of range")
    return number


def _check_depth(value: Any, levels: int) -> None:
    if isinstance(value, dict | list):
        if levels == 0:
            raise ValueError("nested too deeply")
        for each in value.values() if isinstance(value, dict) else value:
            _check_depth(each, levels - 1)
