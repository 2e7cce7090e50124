"""Sanitise texts of other systems for the log: limit the length, remove line breaks and redact possible secrets."""

import re

MAX_LENGTH = 300
"""Maximum characters of another system's text in the log."""

_MAX_READ = 2000
_PLACEHOLDER = "[removed]"
_NAME = (
    r"[\w.:-]{0,30}(?:passw(?:or)?d|passphrase|pwd|secret|token|api[-_ ]?key|private[-_ ]?key|authori[sz]ation"
    r"|credentials?|cookie|session[-_ ]?id|lösenord|adgangskode|kodeord)[\w-]{0,30}"
)
_NO_UUID = r"(?![0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![a-z0-9+/=_-]))"
_VALUE = r"""(?:"[^"]*"?|'[^']*'?|(?:basic|bearer|digest|negotiate)\s+[^\s<>,;]+|[^\s<>,;&]+)"""

_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        # <password>hunter2</password>
        (rf"(<{_NAME}[^<>]{{0,200}}>)[^<]*", rf"\1{_PLACEHOLDER}"),
        # password=hunter2, "password": "hunter2", password is hunter2
        (
            rf"""({_NAME}["']?\s{{0,5}}(?:[:=]+>?|\sis\s|\svar\s|\sär\s|\ser\s)\s{{0,5}}){_VALUE}""",
            rf"\1{_PLACEHOLDER}",
        ),
        (r"\b(basic|bearer)\s+[a-z0-9+/=._~-]{6,}", rf"\1 {_PLACEHOLDER}"),
        # https://user:hunter2@host
        (r"(://)[^\s/@]{1,200}@", rf"\1{_PLACEHOLDER}@"),
        # Secrets with a type prefix, as in Standard Webhooks.
        (r"\b(?:whsec|sk|pk|ghp|xox[abp])[_-][a-z0-9+/=_-]{8,}", _PLACEHOLDER),
        # Quoted text may be content. Quoted names and numbers are kept.
        (r"""(?:(?<=[\s(\[=:,>])|^)(["'])(?=[^"']{0,100}[^"'\s]\s|[^"']{65})[^"']+\1?""", rf"\1{_PLACEHOLDER}\1"),
        # Long hexadecimal or base64 values with digits. UUIDs are ids and are kept.
        (
            rf"(?<![a-z0-9+/_-]){_NO_UUID}(?=[a-z+/=_-]{{0,100}}[0-9])[a-z0-9+/_-]{{20,}}={{0,2}}",
            _PLACEHOLDER,
        ),
        # Personal numbers.
        (r"(?<![0-9a-f-])(?:[0-9]{2})?[0-9]{6}[-+ ]?[0-9]{4}(?![0-9a-f-])", _PLACEHOLDER),
    )
)


def redact_for_log(text: str) -> str:
    """Return the beginning of a text on one line, with placeholders for values that look like secrets."""
    text = " ".join(text[:_MAX_READ].split())
    text = "".join(character if character.isprintable() else "\ufffd" for character in text)
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}…"
