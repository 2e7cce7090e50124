"""A model of publications: what callers know of their posts decides what may be on the cases and what is readable.

It is independent of the service: a property test and the soak campaigns record the posts of their callers in it, and
compare it in the end with the messages in Open-E and in the service.
"""

import base64
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.factories import PARTY_ID


class Content(NamedTuple):
    """The part of a message that Open-E shows. Messages of equal content are indistinguishable there."""

    case: int
    text: str
    file: str | None = None
    sender: str | None = None


def build_body(content: Content) -> dict[str, object]:
    """Return the body of a post with this content."""
    body: dict[str, object] = {
        "partyId": PARTY_ID,
        "message": content.text,
        "externalReferences": [{"key": "flowInstanceId", "value": str(content.case)}],
    }
    if content.sender is not None:
        body["sender"] = {"userId": content.sender}
    if content.file is not None:
        data = base64.b64encode(content.file.encode()).decode()
        body["attachments"] = [{"fileName": content.file, "base64Data": data}]
    return body


NO_ANSWER = 0
"""The status of a post whose connection ended without a response."""

UNCERTAIN = frozenset({NO_ANSWER, 500})
"""After these statuses a caller does not know whether the message is on its case. All others are certain."""


@dataclass
class _Group:
    """The posts that may make one message at most: those with one key and one content, or one post without key."""

    content: Content
    key: str | None
    locations: set[str] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def least(self) -> int:
        return 1 if self.locations else 0

    @property
    def most(self) -> int:
        return 1 if self.locations or self.statuses.keys() & UNCERTAIN else 0


@dataclass(frozen=True)
class Found:
    """The final state: messages of callers on their cases, readable ones by path, and the number in doubt."""

    on_case: Counter[Content]
    readable: dict[str, Content]
    in_doubt: int


class PublicationModel:
    """Posts and deletions of callers, and what follows from them. Not thread-safe."""

    def __init__(self) -> None:
        self._groups: dict[object, _Group] = {}
        self._deleted: dict[str, Content] = {}
        self._undecidable: set[Content] = set()
        self._count = 0

    def begin(self, content: Content, key: str | None = None) -> object:
        """Record that a post begins, and return what `end` needs. Until it ends, its outcome is unknown."""
        self._count += 1
        group = self._groups.setdefault((key, content) if key is not None else self._count, _Group(content, key))
        group.statuses[NO_ANSWER] += 1
        return group

    def end(self, post: object, status: int, location: str | None = None) -> None:
        """Record the response to a post. Call it not for a post without response."""
        assert isinstance(post, _Group)
        post.statuses -= Counter([NO_ANSWER])
        post.statuses[status] += 1
        if location is not None:
            post.locations.add(location)

    def delete(self, location: str, content: Content) -> None:
        """Record that a message may have been deleted, also one that was in doubt."""
        self._deleted[location] = content

    def plant_equal(self, content: Content) -> None:
        """Record that another sender posted the same in the same minute: a lost answer cannot be decided then.

        It equals messages of every sender, because Open-E drops a sender that it does not know.
        """
        self._undecidable.add(content._replace(sender=None))

    def statuses(self) -> Counter[int]:
        """Return the number of responses by status."""
        return sum((group.statuses for group in self._groups.values()), Counter())

    def is_certain(self, key: str) -> bool:
        """Return whether a caller with this key knows the outcome of all its posts."""
        return all(group.locations or not group.most for group in self._groups.values() if group.key == key)

    def check(self, found: Found) -> list[str]:
        """Return all violations: messages that are lost, doubled, invented, hidden or in doubt."""
        return list(self._find_violations(found))

    def _find_violations(self, found: Found) -> Iterator[str]:
        if found.in_doubt:
            yield f"{found.in_doubt} messages are in doubt"
        readable = Counter(found.readable.values())
        accepted = {group.key: group for group in self._groups.values() if group.key is not None and group.locations}
        by_content: dict[Content, list[_Group]] = defaultdict(list)
        for group in self._groups.values():
            # A key makes one message: other contents with an accepted key were refused, whatever their callers saw.
            if accepted.get(group.key, group) is group:
                by_content[group.content].append(group)
        deleted = Counter(content for location, content in self._deleted.items() if location not in found.readable)
        for content in {*by_content, *found.on_case, *readable}:
            groups = by_content[content]
            least, most = sum(group.least for group in groups), sum(group.most for group in groups)
            number = found.on_case[content]
            if number > most:
                yield f"doubled or refused: {content} is {number} times on its case, but {most} posts may have made it"
            if content._replace(sender=None) in self._undecidable:
                continue
            if number < least:
                yield f"lost: {content} is {number} times on its case, but {least} posts were accepted"
            if readable[content] > number:
                yield f"not published: {content} is readable {readable[content]} times, and {number} times on its case"
            if readable[content] + deleted[content] < number:
                yield f"hidden: {content} is {number} times on its case, and readable {readable[content]} times"
        yield from self._find_location_violations(found)

    def _find_location_violations(self, found: Found) -> Iterator[str]:
        owners: dict[str, _Group] = {}
        accepted_keys: dict[str, _Group] = {}
        for group in self._groups.values():
            if len(group.locations) > 1:
                yield f"two messages: {group.content} with key {group.key} has {sorted(group.locations)}"
            for location in group.locations:
                if location in owners:
                    yield f"confused: {location} is {group.content} and {owners[location].content}"
                owners[location] = group
                if location not in self._deleted and found.readable.get(location) != group.content:
                    yield f"unreadable: {location} was returned for {group.content}"
            if group.key is not None and group.locations:
                other = accepted_keys.setdefault(group.key, group)
                if other is not group:
                    yield f"reused: key {group.key} was accepted for {group.content} and {other.content}"


def count_contents(contents: Iterable[Content]) -> Counter[Content]:
    """Return the number of messages of each content."""
    return Counter(contents)
