"""The Danish texts and the numbers of errors in error lists."""

from collections.abc import Callable, Sequence

from domain.errors import Violation
from domain.subscriptions import Entry, ErrorCode, SyncError
from openapi.bodies.json_reader import MAX_CONTAINERS, MAX_DEPTH, MAX_RUN
from openapi.errors.faults import Fault, Reason, Unreadable

NOT_VALID = "Request validerer ikke"

MAX_NAME = 100
"""Maximum characters of an unknown name in an error."""

_TIME = (
    "skal være dato og klokkeslæt med sekunder, fx 2023-01-01T00:00:00, eventuelt med brøkdel og offset, i årene 1900 "
    "til 2999"
)
_UUID = "skal være en UUID på formen 8-4-4-4-12"
_TEXT = "må ikke indeholde U+0000"
_PATTERNS = {
    "systemIdentifier": _UUID,
    "beskedId": _UUID,
    "eksternIdentifier": _UUID,
    "leveringIds": _UUID,
    "after": "skal være taget fra headeren Link i et svar",
    "versionIdentifier": _TEXT,
    "identifikation": _TEXT,
    "startDato": _TIME,
    "slutDato": _TIME,
    "fra": _TIME,
    "til": _TIME,
}
_TYPES = {
    "string": "skal være en tekst",
    "integer": "skal være et heltal",
    "array": "skal være en liste",
    "object": "skal være et objekt",
    "boolean": "skal være true eller false",
}
_WEBHOOK = (
    "webhookUrl skal være en absolut sti under systemets base-URL: begynder med én /, kun tegn fra RFC 3986, ingen "
    "tomme segmenter, ingen . eller .., ingen query og intet fragment, højst 1024 tegn"
)
_UNKNOWN_TYPE = "Det angivne beskedtypeId er ikke kendt i systemet"
_SAME = "Samme orgType, orgCode og entityType er allerede angivet tidligere i requestet"


_TOGETHER = ("identifikationstypeId", "identifikation")
_NOT_ALONE = f"{' og '.join(_TOGETHER)} skal angives sammen eller slet ikke"


def _name_field(fault: Fault) -> str:
    *_, name = ("", *(part for part in fault.path if isinstance(part, str)))
    return name


def _describe_type(fault: Fault) -> str:
    names = fault.rule["types"]
    words = next(_TYPES.get(name, "har ikke den rigtige type") for name in names if name != "null")
    return f"{words} eller null" if "null" in names else words


_BY_KEYWORD: dict[str, str | Callable[[Fault], str]] = {
    "required": "mangler",
    "type": _describe_type,
    "additionalProperties": "er ikke en kendt egenskab",
    "minimum": lambda fault: f"skal være mindst {fault.rule['limit']}",
    "maximum": lambda fault: f"må højst være {fault.rule['limit']}",
    "enum": lambda fault: f"skal være en af {', '.join(map(str, fault.rule['options']))}",
    "minLength": lambda fault: f"skal have mindst {fault.rule['limit']} tegn",
    "maxLength": lambda fault: f"må højst have {fault.rule['limit']} tegn",
    "minItems": lambda fault: f"skal have mindst {fault.rule['limit']} element",
    "maxItems": lambda fault: f"må højst have {fault.rule['limit']} elementer; resten er ikke undersøgt",
    "pattern": lambda fault: _PATTERNS.get(_name_field(fault), "har ikke den rigtige form"),
    "utf-8": "skal være UTF-8",
    "nul": "må ikke indeholde U+0000",
    "twice": "må kun angives én gang",
    "token": "skal have et token efter Bearer",
    "unknown": "er ikke en kendt parameter",
    "many": lambda fault: f"må højst have {fault.rule['limit']} parametre",
}

_UNREADABLE: dict[Reason, str] = {
    "json": "body skal være JSON",
    "utf-8": "body skal være JSON i UTF-8",
    "surrogate": "body må ikke indeholde et uparret surrogat",
    "depth": f"body må højst være indlejret i {MAX_DEPTH} niveauer",
    "number": "body må ikke indeholde tal uden for området for 64-bit flydende tal eller heltal med over 4300 cifre",
    "twice": "body må ikke angive en egenskab to gange",
    "values": (
        f"body må højst indeholde {MAX_CONTAINERS} objekter og lister, og højst {MAX_RUN} værdier mellem to objekters "
        "slutning"
    ),
    "incomplete": "body er ikke komplet; forbindelsen blev afbrudt",
    "form": "body skal være JSON",
}


def build_violation(fault: Fault, _prefix: str = "") -> Violation | None:
    """Return a fault as a violation with its number and entry; None if it is reported already."""
    name = _name_field(fault)
    index = next((part for part in fault.path if isinstance(part, int)), None)
    if index is not None and fault.path[:-1] == [_ENTRIES]:
        # The fault concerns the entry as a whole.
        name = ""
    if _is_of_another_type(fault):
        # The wrong type is reported already.
        return None
    if fault.keyword == "anyOf" and isinstance(fault.value, dict):
        name = next((name for name in _TOGETHER if name not in fault.value), "")
        return build_contract_violation(_NOT_ALONE, name)
    if name == "webhookUrl" and fault.keyword in {"pattern", "minLength", "maxLength"}:
        return Violation(name, _WEBHOOK, ErrorCode.WEBHOOK_NOT_ACCEPTABLE, index)
    text = _BY_KEYWORD.get(fault.keyword, "har ikke den rigtige form")
    words = text if isinstance(text, str) else text(fault)
    subject = f"{name} " if name and fault.keyword not in _OF_UNKNOWN_NAMES else ""
    return build_contract_violation(f"{subject}{words}", name[:MAX_NAME], index)


_ENTRIES = "abonnementer"
"""The list whose entries are objects."""

_OF_UNKNOWN_NAMES = {"additionalProperties", "unknown"}


def _is_of_another_type(fault: Fault) -> bool:
    """Return whether a rule for numbers, or an enumeration, was applied to a value of another type, such as 1.5."""
    if fault.keyword in {"minimum", "maximum"}:
        return not isinstance(fault.value, int)
    return fault.keyword == "enum" and type(fault.value) is not type(fault.rule["options"][0])


def list_parse_violations(fault: Unreadable) -> Sequence[Violation]:
    """Return the violations for a body that cannot be parsed."""
    place = "" if fault.place is None else f" (linje {fault.place[0]}, tegn {fault.place[1]})"
    return [build_contract_violation(f"{_UNREADABLE[fault.reason]}{place}")]


def build_nonexistent_time_violation(name: str, index: int | None = None) -> Violation:
    """Return the violation for a well-formed date or time that does not exist in Copenhagen."""
    return build_contract_violation(
        f"{name} findes ikke som dato og klokkeslæt i årene 1900 til 2999 i dansk tid", name, index
    )


def build_contract_violation(words: str, field: str = "", index: int | None = None) -> Violation:
    """Return the violation of a rule of the contract."""
    return Violation(field, f"{NOT_VALID}: {words}", ErrorCode.NOT_VALID, index)


def build_unknown_type_violation() -> Violation:
    """Return the violation for a message type that is unknown or has ended."""
    return Violation("entityType", _UNKNOWN_TYPE, ErrorCode.UNKNOWN_TYPE)


def build_rule_violation(error: SyncError, wanted: Sequence[Entry]) -> Violation:
    """Return the violation for a broken rule of a sync."""
    text = _RULES[error.code]
    words = text if isinstance(text, str) else text(wanted[error.index or 0])
    return Violation(error.field or "", words, error.code, error.index)


_RULES: dict[ErrorCode, str | Callable[[Entry], str]] = {
    ErrorCode.NEGATIVE_DURATION: "Den angivne varighed er negativ, startdato er større end slutdato",
    ErrorCode.END_IN_THE_PAST: "Slutdato skal være dagsdato eller i fremtiden",
    ErrorCode.UNKNOWN_TYPE: _UNKNOWN_TYPE,
    ErrorCode.TYPE_NOT_ALLOWED: lambda entry: (
        f"Denne orgtype har ikke adgang til at abonnere på entity type {entry.entity_type}. Tjek webservice metoden "
        f"hentTilladteBeskedtyper (GET /v1/beskedtype/tilladte?orgType={entry.org_type}) for at se hvilke entiteter du "
        "må abonnere på"
    ),
    ErrorCode.WEBHOOK_NOT_ACCEPTABLE: _WEBHOOK,
    ErrorCode.NAMED_TWICE: _SAME,
}
