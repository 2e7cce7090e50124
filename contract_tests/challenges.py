"""Parse the challenges of `WWW-Authenticate` (RFC 9110, section 11.6.1)."""

import re
from dataclasses import dataclass, field

BEARER = "bearer"

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_ELEMENT = re.compile(rf"(?:{_QUOTED}|[^,\"])+")
_PARAMETER = re.compile(rf"({_NAME})[ \t]*=[ \t]*({_NAME}|{_QUOTED})")
_CHALLENGE = re.compile(rf"({_NAME})(?:[ \t]+(?:({_PARAMETER.pattern})|[A-Za-z0-9._~+/-]+=*))?")


@dataclass
class Challenge:
    """A challenge: its scheme and the names of its parameters in lower case."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def parse_challenges(header: str) -> list[Challenge]:
    """Return the challenges of a header, or of several headers that are joined by commas.

    Raises ValueError for a header in another form.
    """
    if re.sub(r"[, \t]", "", _ELEMENT.sub("", header)):
        raise ValueError("a quotation mark has no end")
    challenges: list[Challenge] = []
    for element in filter(None, (found[0].strip(" \t") for found in _ELEMENT.finditer(header))):
        # An element is a further parameter, or begins a challenge.
        challenge = None if _PARAMETER.fullmatch(element) else _CHALLENGE.fullmatch(element)
        if challenge is not None:
            challenges.append(Challenge(challenge[1].lower()))
        elif not challenges or not _PARAMETER.fullmatch(element):
            raise ValueError(f"{element!r} is neither a challenge nor a parameter of one")
        text = element if challenge is None else challenge[2]
        if text is not None:
            _add_parameter(challenges[-1], text)
    return challenges


def find_bearer(header: str) -> Challenge | None:
    """Return the challenge of the scheme Bearer, None if there is none. Raises ValueError for another form."""
    found = [challenge for challenge in parse_challenges(header) if challenge.scheme == BEARER]
    if len(found) > 1:
        raise ValueError("it has more than one Bearer challenge")
    return found[0] if found else None


def _add_parameter(challenge: Challenge, text: str) -> None:
    name, _, value = text.partition("=")
    name, value = name.strip(" \t").lower(), value.strip(" \t")
    if name in challenge.parameters:
        raise ValueError(f"the parameter {name} occurs twice")
    challenge.parameters[name] = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
