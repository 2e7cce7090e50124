"""Errors of the service, by meaning. The docstring of a class is its default message."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class BudkavleError(Exception):
    """The operation failed."""

    challenges: tuple[str, ...] = ()
    """The credentials that the caller should present, for the header `WWW-Authenticate`."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__ or "")

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class Violation:
    """One violation in a request. `field` is the caller's name for it (`attachments[0].fileName`).

    `code` is the number of the error in contracts that number their errors; `index` is the position of the entry in
    contracts that report errors by entry.
    """

    field: str
    message: str
    code: int | None = None
    index: int | None = None

    @property
    def order(self) -> tuple[int, str, int, str]:
        """Return the sort key: violations without an entry first, then by entry, field, code and message."""
        index = -1 if self.index is None else self.index
        return (index, self.field, self.code or 0, self.message)


class Invalid(BudkavleError):
    """The request breaks the contract."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        super().__init__()
        self.violations = tuple(_sort_violations(violations))


def _sort_violations(violations: Iterable[Violation]) -> Iterator[Violation]:
    """Yield each distinct violation in sort order, entry by entry: one long sort would hold the GIL."""
    by_index: dict[int | None, list[Violation]] = {}
    for violation in dict.fromkeys(violations):
        by_index.setdefault(violation.index, []).append(violation)
    for group in sorted(by_index.values(), key=lambda group: group[0].order[0]):
        yield from sorted(group, key=lambda violation: violation.order)


class RefusalReason(StrEnum):
    """The reason for rejecting a caller, as used in logs, metrics and the audit log."""

    NO_KEY = "no_key"
    SEVERAL_KEYS = "several_keys"
    UNKNOWN_KEY = "unknown_key"
    EXPIRED_KEY = "expired_key"
    KEY_LACKS_SCOPE = "key_lacks_scope"
    PUBLICATION_NOT_AUTHORISED = "publication_not_authorised"
    INVALID_TOKEN = "invalid_token"  # noqa: S105  # It is a reason.
    TOKEN_LACKS_SCOPE = "token_lacks_scope"  # noqa: S105  # It is a reason.
    NO_CERTIFICATE = "no_certificate"
    CERTIFICATE_UNREADABLE = "certificate_unreadable"
    CERTIFICATE_OUTSIDE_DATES = "certificate_outside_dates"
    UNKNOWN_CERTIFICATE = "unknown_certificate"
    SYSTEM_NOT_AUTHORISED = "system_not_authorised"


class CallerRefused(BudkavleError):
    """The caller has no access."""

    def __init__(self, reason: RefusalReason, message: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class Unauthenticated(CallerRefused):
    """The caller is not authenticated."""


class KeyNeeded(Unauthenticated):
    """A valid key is needed."""


class TokenRejected(Unauthenticated):
    """The access token is not valid."""

    def __init__(self, reason: RefusalReason, message: str | None = None, fault: str = "") -> None:
        super().__init__(reason, message)
        self.fault = fault
        """The fault of the token, for logs."""


class TooManyFailures(CallerRefused):
    """Too many failed authentications from this address; retry after a second."""


class Forbidden(CallerRefused):
    """The caller is not authorised for this operation."""


class LacksScope(Forbidden):
    """The caller is not authorised for this operation."""

    def __init__(self, reason: RefusalReason, message: str | None = None, scope: str = "") -> None:
        super().__init__(reason, message)
        self.scope = scope
        """The scope that the caller needs."""


class PublicationForbidden(LacksScope):
    """The caller is not authorised to publish events of this orgType and orgCode."""


class NotFound(BudkavleError):
    """The object does not exist."""


class EventNotFound(NotFound):
    """The event does not exist, or the caller may not publish it."""


class NotOffered(BudkavleError):
    """This service does not offer this."""


class MunicipalityNotServed(NotOffered):
    """This service does not serve this municipality."""


class CaseMissing(BudkavleError):
    """The message names no case."""


class Conflict(BudkavleError):
    """The request conflicts with existing data."""


class KeyInUse(BudkavleError):
    """The first request with this Idempotency-Key has no outcome yet; repeat it after the time in Retry-After."""


class KeyReused(BudkavleError):
    """This Idempotency-Key was used for a request with other content; use a new key for new content."""


class UnknownType(BudkavleError):
    """The message type does not exist, or it has ended."""


class TooLarge(BudkavleError):
    """The body is larger than the service accepts."""

    def __init__(self, message: str | None = None, limit: int | None = None) -> None:
        super().__init__(message)
        self.limit = limit
        """The maximum number of bytes, if the limit applies to the whole body."""


class UnsupportedMediaType(BudkavleError):
    """The body has a media type that the operation does not accept."""


class Overloaded(BudkavleError):
    """The service is processing too many large requests; retry later."""


class IssuerKeysMissing(BudkavleError):
    """The keys of the token's issuer are not available; retry later."""

    def __init__(self, message: str | None = None, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds after which the caller should retry, at least 1."""


class BackendFailed(BudkavleError):
    """A call to another system failed."""

    def __init__(self, message: str | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        """The cause, for the log only: without content, secrets or personal numbers."""


class BackendRefused(BackendFailed):
    """Another system rejected the call and certainly did nothing."""


class AccessDenied(BackendRefused):
    """Open-E denied access to the case."""


class BackendUnavailable(BackendFailed):
    """Another system could not be reached and certainly did nothing."""


class OutcomeUnknown(BackendFailed):
    """Another system may or may not have executed the call."""


class ResponseTimedOut(OutcomeUnknown):
    """Another system did not answer in time."""


class ConnectionLost(OutcomeUnknown):
    """The connection was lost before another system answered."""


class CircuitOpen(BackendFailed):
    """Open-E does not answer; nothing was stored or published. Retry later."""


class PersonLookUpFailed(BackendFailed):
    """The party service did not return the legal id of the person; nothing was published."""


class PersonLookUpTimedOut(PersonLookUpFailed):
    """The party service did not answer in time; nothing was published."""


class StorageFailed(BudkavleError):
    """The database does not answer."""

    def __init__(self, reason: str = "", explanation: str = "") -> None:
        super().__init__()
        self.reason = reason
        """Kind and code for the log, without any value."""
        self.explanation = explanation
        """Cause and remedy for operators. Callers receive the default message."""


class StorageUncertain(StorageFailed):
    """The database does not answer."""

    # The connection was lost: the server may have executed the statement.


class StorageBlocked(StorageFailed):
    """The database does not answer."""

    # A lock of other work was not released in time, or deadlocks repeated: the database certainly changed nothing.


class StorageRejected(StorageFailed):
    """The database rejected a statement."""
