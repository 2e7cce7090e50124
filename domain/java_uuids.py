"""UUIDs as Java's `UUID.fromString` reads them, which callers of the replaced services may send."""

from uuid import UUID

_BITS = (32, 16, 16, 16, 48)


def parse_java_uuid(text: str) -> str:
    """Return the canonical form of a UUID that conforms to the contract: of each group, the last digits count.

    >>> parse_java_uuid("1-1-1-1-1")
    '00000001-0001-0001-0001-000000000001'
    """
    number = 0
    for group, bits in zip(text.split("-"), _BITS, strict=True):
        number = number << bits | int(group, 16) & (1 << bits) - 1
    return str(UUID(int=number))
