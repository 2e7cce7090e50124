"""Remove secrets from everything that a check prints or writes.

A server may repeat a key or a certificate in a response, in any common encoding. Therefore a text is decoded step by
step, and each sufficiently long part of a secret is replaced wherever one of the steps reveals it.
"""

import base64
import html
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote_plus
from xml.sax.saxutils import escape  # This module only writes XML.

from contract_tests.curl import tls_options
from contract_tests.suites import Suite
from contract_tests.target import CheckTarget

_SHORTEST_SECRET = 8
"""A shorter key is a word such as `demo`, which also has other meanings."""
_LONGEST_WINDOW = 32
"""Characters of a secret per search. Each part of about twice this length is found."""
_LEVELS = 4
"""Maximum nested encodings that are decoded, such as JSON in XML."""

_ENCODED = re.compile(
    r"%([0-9a-fA-F]{2})"
    r"|\\+u00([0-9a-fA-F]{2})"
    r"|\\+x([0-9a-fA-F]{2})"
    r"|(&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|amp|lt|gt|quot|apos);)"
    r"""|\\+(["'/\\])"""
    # Printers wrap long lines, and pytest prefixes each of them. A run of blanks is read once: bodies have many.
    r"|((?<![ \t])(?:[ \t]*+\r?\n(?:E(?=[ \t]))?[ \t]*+)+)"
)

_ESCAPES = {".xml": escape, ".json": lambda text: json.dumps(text)[1:-1]}
"""How text is escaped in files of each type."""


class Redactor:
    """Replaces secrets by the names of their shell variables.

    `secrets` are pairs of a secret, if there is one, and its variable. `list_tokens` returns the tokens so far.
    """

    def __init__(
        self, secrets: Iterable[tuple[str | None, str]], list_tokens: Callable[[], Sequence[str]] = tuple
    ) -> None:
        self._list_tokens = list_tokens
        self._words: list[tuple[str, str]] = []
        self._tokens = 0
        for secret, name in secrets:
            self._add(secret, name)

    def _add(self, secret: str | None, name: str) -> None:
        if secret is not None and len(secret) >= _SHORTEST_SECRET:
            self._words += [(_lower(word), name) for word in dict.fromkeys(_list_notations(secret))]

    def _add_new_tokens(self) -> None:
        """Add the tokens that were fetched since the last call."""
        tokens = self._list_tokens()
        for token in tokens[self._tokens :]:
            self._add(token, "$TOKEN")
        self._tokens = len(tokens)

    def text(self, text: str) -> str:
        """Return the text without secrets in any supported encoding."""
        self._add_new_tokens()
        # Prefer the longest match, and for equal length a whole secret over a part of another one.
        found = sorted(self._find_secrets(text), key=lambda span: (span[0], -span[1], span[2]))
        pieces, end = [], 0
        for first, last, _, name in found:
            if last <= end:
                continue
            if first >= end:
                pieces += [text[end:first], name]
            end = last
        return "".join([*pieces, text[end:]])

    def file(self, path: Path) -> None:
        """Remove secrets from a file with any bytes."""
        before = path.read_bytes().decode("latin-1")
        after = self.text(before)
        if after != before:
            path.write_bytes(after.encode("latin-1"))

    def folder(self, folder: Path, *kept: str) -> None:
        """Remove secrets from all files in a folder except those named in `kept`."""
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink() and path.name not in kept:
                self.file(path)

    def _find_secrets(self, text: str) -> Iterator[tuple[int, int, bool, str]]:
        """Yield the start and end of secrets in the text, whether only a part was found, and their names."""
        views: list[_View] = []
        seen = text
        for _ in range(_LEVELS):
            for begin, end, is_part, name in self._split_secret(_lower(seen)):
                first, last = begin, end
                for view in reversed(views):
                    first, last = view.before(first), view.before(last - 1, is_end=True)
                yield first, last, is_part, name
            view = _View(seen)
            if view.text == seen:
                return
            views.append(view)
            seen = view.text

    def _split_secret(self, text: str) -> Iterator[tuple[int, int, bool, str]]:
        runs = self._find_runs(text)
        for word, name in self._words:
            size, step = _window(len(word))
            for at in range(0, len(word) - size + 1, step):
                part = word[at : at + size]
                place = text.find(part) if part in runs[size] else -1
                while place >= 0:
                    first, last = _extend_match(text, place, word, at, size)
                    yield first, last, last - first < len(word), name
                    place = text.find(word[at : at + size], last)

    def _find_runs(self, text: str) -> dict[int, str]:
        """Return the runs of characters of secrets in the text, by their minimum length.

        They contain all parts of secrets, and are so much shorter than the text that searching them first saves most of
        the time.
        """
        characters = re.escape("".join({*"".join(word for word, _ in self._words)}))
        runs = re.findall(f"[{characters}]{{{_SHORTEST_SECRET},}}", text) if characters else []
        sizes = {_window(len(word))[0] for word, _ in self._words}
        return {size: "\n".join(run for run in runs if len(run) >= size) for size in sizes}


def create_redactor(target: CheckTarget, client_secret: str | None = None) -> Redactor:
    """Return a redactor of the secrets of a target."""
    certificate = None if target.certificate is None else target.certificate.header.strip(":")
    secrets = (
        (certificate, "$CLIENT_CERT"),
        (client_secret, "$CLIENT_SECRET"),
        (target.publish_key, "$PUBLISH_KEY"),
        (target.api_key, "$API_KEY"),
    )
    return Redactor(secrets, lambda: target.tokens)


class _View:
    """A text with one level of encoding removed, and the positions of its characters in the original text."""

    def __init__(self, text: str) -> None:
        pieces: list[str] = []
        self._starts, self._originals, self._is_code = [0], [0], [False]
        self._length = len(text)
        end = size = 0
        for found in _ENCODED.finditer(text):
            plain = _decode(found)
            pieces += [text[end : found.start()], plain]
            size += found.start() - end
            self._add(size, found.start(), is_code=True)
            size += len(plain)
            end = found.end()
            self._add(size, end, is_code=False)
        self.text = "".join([*pieces, text[end:]])

    def _add(self, start: int, original: int, *, is_code: bool) -> None:
        self._starts.append(start)
        self._originals.append(original)
        self._is_code.append(is_code)

    def before(self, place: int, *, is_end: bool = False) -> int:
        """Return the start of a character in the original text, or its end with `is_end`."""
        at = bisect_right(self._starts, place) - 1
        if self._is_code[at]:
            return self._originals[at + 1] if is_end else self._originals[at]
        return self._originals[at] + place - self._starts[at] + is_end


def _decode(found: re.Match[str]) -> str:
    digits = found[1] or found[2] or found[3]
    if digits is not None:
        return chr(int(digits, 16))
    if found[4] is not None:
        # A replacement of several characters would shift the positions of the following text.
        plain = html.unescape(found[4])
        return plain if len(plain) == 1 else "\ufffd"
    return found[5] or ""


def _list_notations(secret: str) -> Iterator[str]:
    """Yield the secret itself, in hexadecimal, and in base64 at each offset within three bytes."""
    yield secret
    yield secret.encode().hex()
    # The secret of a client is percent-encoded before it is encoded in base64 (RFC 6749, section 2.3.1).
    for form in (secret, quote_plus(secret)):
        for before in range(3):
            # The first and last characters also depend on the neighbouring bytes.
            coded = base64.b64encode(bytes(before) + form.encode())[before + (before > 0) :].rstrip(b"=")[:-1].decode()
            yield coded
            yield coded.translate(str.maketrans("+/", "-_"))


def _lower(text: str) -> str:
    """Return the text in lower case. Only ASCII letters are converted, so that positions are unchanged."""
    # The methods of `bytes` convert only these, in a tenth of the time of `str.translate`.
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def _window(length: int) -> tuple[int, int]:
    """Return the number of characters per search, and the distance between two searched parts."""
    size = max(_SHORTEST_SECRET, length // 2 + 1)
    return (size, 1) if size <= _LONGEST_WINDOW else (_LONGEST_WINDOW, _LONGEST_WINDOW)


def _extend_match(text: str, place: int, word: str, at: int, size: int) -> tuple[int, int]:
    """Return the start and end of the longest part of a word around a match."""
    first, last, start, end = place, place + size, at, at + size
    # Most texts repeat the whole secret. Comparing it at once takes a hundredth of the time.
    if start > 0 and text.endswith(word[:start], 0, first):
        first, start = first - start, 0
    if text.startswith(word[end:], last):
        last, end = last + len(word) - end, len(word)
    while start > 0 and first > 0 and text[first - 1] == word[start - 1]:
        first, start = first - 1, start - 1
    while end < len(word) and last < len(text) and text[last] == word[end]:
        last, end = last + 1, end + 1
    return first, last


def redact(suite: Suite, target: CheckTarget) -> None:
    """Remove secrets from the files of a suite, and complete the commands of Schemathesis."""
    publishes = "subscriptions" in suite.name and target.publish_key != target.api_key
    # Schemathesis removes keys itself; a command to paste needs variables in their place.
    values = {
        "'apikey: [Filtered]'": f'"apikey: ${"PUBLISH_KEY" if publishes else "API_KEY"}"',
        "'Authorization: [Filtered]'": '"Authorization: Bearer $TOKEN"',
    }
    if target.certificate is not None and not target.is_tls:
        values[f"'Client-Cert: {target.certificate.header}'"] = '"Client-Cert: $CLIENT_CERT"'
        values["'Client-Cert: [Filtered]'"] = '"Client-Cert: $CLIENT_CERT"'
        values[target.certificate.header] = "$CLIENT_CERT"
    if suite.name.startswith("schema"):
        # The commands of Schemathesis lack the trusted CA and the client certificate.
        words = " ".join(tls_options(target, with_certificate="subscriptions" in suite.name))
        values["curl -X"] = f"curl -sS -i {words} -X" if words else "curl -sS -i -X"
    redactor = create_redactor(target)
    for path in (suite.junit, suite.junit.with_suffix(".json"), suite.log):
        if path.exists():
            text = path.read_text(encoding="utf-8", errors="replace")
            for value, instead in values.items():
                text = text.replace(value, _ESCAPES.get(path.suffix, str)(instead))
            path.write_text(redactor.text(text), encoding="utf-8")
