"""Find environment variables that look like settings but are not."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from budkavle.settings import PREFIX, Settings, SettingsUnusable

OTHER_VARIABLES = frozenset(
    f"BUDKAVLE_CHECK_{name}" for name in ("API_KEY", "PUBLISH_KEY", "TOKEN", "TOKEN_URL", "CLIENT_ID", "CLIENT_SECRET")
)
"""Variables of command options that are not settings."""

_LEAST_SIMILARITY = 0.7
"""Minimum similarity of a suggestion: four letters with two of them swapped have 0.75."""

_MISSPELT_CHARACTERS = 4
"""Maximum differences of a misspelt name: two characters that were replaced, or four that are missing."""


@dataclass(frozen=True, slots=True)
class UnknownVariable:
    """A variable with the prefix of settings that is none of this version. `similar` is the most similar known one.

    A misspelt variable differs from it by a few characters. Any other one is ignored: it may be a setting of a later
    version, and must not stop a process of this one while both run.
    """

    name: str
    similar: str | None
    is_misspelt: bool


def find_unknown_variables(names: Iterable[str]) -> tuple[UnknownVariable, ...]:
    """Return the variables with the prefix `BUDKAVLE_` that do not exist."""
    known = {name.upper() for name in Settings.model_fields}
    known |= {name.removeprefix(PREFIX) for name in OTHER_VARIABLES}
    unknown = []
    for variable in sorted(names):
        name = variable.upper().removeprefix(PREFIX)
        if variable.upper().startswith(PREFIX) and name not in known:
            similar = next(iter(difflib.get_close_matches(name, sorted(known), 1, _LEAST_SIMILARITY)), None)
            is_misspelt = similar is not None and _count_differences(name, similar) <= _MISSPELT_CHARACTERS
            unknown.append(UnknownVariable(variable, similar and f"{PREFIX}{similar}", is_misspelt))
    return tuple(unknown)


def _count_differences(one: str, other: str) -> int:
    """Return the number of characters that only one of two names has. One that was replaced counts twice."""
    blocks = difflib.SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
    return len(one) + len(other) - 2 * sum(block.size for block in blocks)


def check_variables(names: Iterable[str]) -> list[str]:
    """Return those of the variables that have the prefix `BUDKAVLE_` and are ignored.

    Raises `SettingsUnusable` with all misspelt variables and the most similar known ones.
    """
    unknown = find_unknown_variables(names)
    faults = [f"{each.name} is not a setting (did you mean {each.similar}?)" for each in unknown if each.is_misspelt]
    if faults:
        raise SettingsUnusable(f"misspelt settings: {'; '.join(faults)}")
    return [each.name for each in unknown]
