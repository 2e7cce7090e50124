"""Search messages and calls by text and time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mock_open_e import Entry, Message
from mock_open_e.server.charsets import decode_content


@dataclass(frozen=True, slots=True)
class Search:
    """A text without its case, and a period with both ends; an empty text and None match everything."""

    text: str
    since: datetime | None
    until: datetime | None

    @property
    def is_limiting(self) -> bool:
        """Whether there is anything that it does not match."""
        return bool(self.text or self.since or self.until)

    def matches_message(self, message: Message) -> bool:
        """Return whether a message matches."""
        poster = message.poster
        sender = "" if poster is None else f"{poster.name} {poster.username}"
        texts = (message.text, sender, message.user_id or "", *(file.filename for file in message.files))
        return self._matches_time(message.stored) and self._matches_text(texts)

    def matches_call(self, entry: Entry) -> bool:
        """Return whether a call matches."""
        if not self._matches_time(entry.at):
            return False
        refusal = entry.refusal
        facts = (entry.operation or entry.method, f"{entry.url}?{entry.query}", entry.fault or "", *entry.notes)
        reasons = () if refusal is None else (refusal.received, refusal.accepted)
        return self._matches_text((*facts, *reasons)) or self._matches_text(
            decode_content(headers, body)
            for headers, body in ((entry.headers, entry.body), (entry.response.headers, entry.response.body))
        )

    def _matches_time(self, moment: datetime) -> bool:
        return (self.since is None or self.since <= moment) and (self.until is None or moment <= self.until)

    def _matches_text(self, texts: Iterable[str]) -> bool:
        return not self.text or any(self.text in text.casefold() for text in texts)


def read_search(parameters: Mapping[str, Any]) -> Search:
    """Return the search of a request."""
    since, until = (
        datetime.fromisoformat(parameters[name]) if name in parameters else None for name in ("fromTime", "toTime")
    )
    return Search(parameters.get("search", "").casefold(), since, until)
