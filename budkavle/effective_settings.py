"""The settings of this environment as they take effect: values without secrets, their origins and faults."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import AnyHttpUrl, SecretStr

from budkavle.settings import PREFIX, Settings, read_usable_settings
from budkavle.variables import UnknownVariable, find_unknown_variables
from persistence.database import DatabaseUnusable
from persistence.opening import mask_password

MASK = "********"


class Origin(StrEnum):
    """The source of a value."""

    DEFAULT = "default"
    ENVIRONMENT = "environment"
    OPTION = "option"


@dataclass(frozen=True, slots=True)
class EffectiveSetting:
    """A setting with its value as JSON; None if it has none. With a fault the value is not usable and not shown."""

    variable: str
    value: object
    origin: Origin
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class EffectiveSettings:
    """All settings, and the variables with their prefix that are not settings."""

    settings: tuple[EffectiveSetting, ...]
    unknown: tuple[UnknownVariable, ...]

    @property
    def is_usable(self) -> bool:
        """Return whether programs start with these settings."""
        is_misspelt = any(each.is_misspelt for each in self.unknown)
        return not is_misspelt and all(each.fault is None for each in self.settings)


def read_effective_settings(**options: object) -> EffectiveSettings:
    """Return the settings of this process. `options` that are not None take precedence over the environment."""
    settings, faults = read_usable_settings(**options)
    unknown = find_unknown_variables(name for name, value in os.environ.items() if value)
    return EffectiveSettings(tuple(_describe(settings, faults, options)), unknown)


def _describe(
    settings: Settings, faults: Mapping[str, str], options: Mapping[str, object]
) -> Iterator[EffectiveSetting]:
    for name in Settings.model_fields:
        if options.get(name) is not None:
            origin = Origin.OPTION
        else:
            origin = Origin.ENVIRONMENT if name in settings.model_fields_set else Origin.DEFAULT
        fault = faults.get(name)
        value = None if fault is not None else _show(name, getattr(settings, name))
        yield EffectiveSetting(f"{PREFIX}{name.upper()}", value, origin, fault)


def _show(name: str, value: Any) -> object:
    """Return a value as JSON without secrets."""
    match value:
        case SecretStr():
            return _mask_secret(name, value.get_secret_value())
        case None | "" | ():
            return None
        case AnyHttpUrl():
            text, has_login = str(value), value.username is not None or value.password is not None
            return text.replace(text.partition("://")[2].partition("@")[0], MASK, 1) if has_login else text
        case tuple():
            return [str(each) for each in value]
        case bool() | int() | float():
            return value
    return str(value)


def _mask_secret(name: str, value: str) -> str | None:
    if name != "database_url":
        return MASK if value else None
    try:
        return mask_password(value)
    except DatabaseUnusable:
        return MASK
