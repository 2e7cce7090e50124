"""What an answer of Open-E, or a call that failed, means for the message: published, refused, or not known.

The classes are those of the design, "Publishing on Open-E". A fault does not prove that nothing was stored, since
Open-E stores the message before it writes history and tells people; only the two faults that addMessage declares,
and faults raised before the operation runs, do.

No error raised here holds text of the message, names of files or credentials.
"""

import re

import requests
from urllib3.exceptions import NameResolutionError, NewConnectionError

from domain.errors import BackendRefused, BackendUnavailable, BudkavleError, NotFound, OutcomeUnknown
from domain.log_texts import redact_for_log
from open_e.envelopes import Answer, Fault

_RAISED_BEFORE_THE_OPERATION = frozenset({"Client", "VersionMismatch", "MustUnderstand"})
_LONGEST_TEXT = 1000
_QUOTED = re.compile(r"'[^']*'?|\"[^\"]*\"?")

# Everything in here is raised before a byte of the request is on its way.
_NEVER_SENT = (
    requests.exceptions.ConnectTimeout,
    requests.exceptions.SSLError,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidHeader,
)


def message_id(status: int, answer: Answer) -> int:
    """Open-E's messageID, from the HTTP status and the answer that was read.

    Raises NotFound when there is no such case, BackendRefused when Open-E has certainly not published the message,
    OutcomeUnknown when that cannot be told.
    """
    if isinstance(answer, Fault):
        _raise_if_refused(answer)
    if 300 <= status < 500:  # noqa: PLR2004 (the two classes of HTTP answers that are refusals)
        raise BackendRefused(f"Open-E answered {status}")
    if isinstance(answer, Fault):
        raise OutcomeUnknown(
            "Open-E answered a fault that does not say whether the message was published", _describe(answer)
        )
    if status != requests.codes.ok:
        raise OutcomeUnknown(f"Open-E answered {status}")
    if answer is None:
        raise OutcomeUnknown("Open-E answered without a messageID")
    return answer


def _raise_if_refused(fault: Fault) -> None:
    text = fault.text[:_LONGEST_TEXT]
    if "FlowInstanceNotFoundFault" in fault.details:
        raise NotFound(text or "Open-E has no such case")
    if "AccessDeniedFault" in fault.details:
        raise BackendRefused(text or "Open-E denied access to the case")
    # SOAP 1.1 lets a code be refined after a dot: Client.Authentication is still Client.
    if fault.code.partition(".")[0] in _RAISED_BEFORE_THE_OPERATION:
        raise BackendRefused(text or f"Open-E answered the fault {fault.code}")


def failure(error: Exception, *, sent: bool | None) -> BudkavleError:
    """What a call that ended without an answer means: BackendUnavailable or OutcomeUnknown, with plain words.

    `sent` says whether a byte of the request may have left; None, where the connection was not ours to watch,
    leaves it to the type of the error.
    """
    never_sent = isinstance(error, _NEVER_SENT) or _is_no_connection(error)
    if sent is False or (sent is None and never_sent):
        return BackendUnavailable(f"Open-E could not be reached: {_reason(error)}", _root(error))
    if _is_timeout(error):
        return OutcomeUnknown("Open-E did not answer in time", _root(error))
    return OutcomeUnknown("The connection to Open-E was lost before it answered", _root(error))


def _describe(fault: Fault) -> str:
    """Return a fault for the log. What it quotes may be content of the message, and is left out."""
    details = f" ({', '.join(fault.details)})" if fault.details else ""
    return redact_for_log(f"fault {fault.code}{details}: {_QUOTED.sub('[…]', fault.text[:_LONGEST_TEXT])}")


def _root(error: BaseException) -> str:
    """Return the innermost cause of an error for the log."""
    seen = {id(error)}
    while (inner := error.__cause__ or error.__context__) is not None and id(inner) not in seen:
        seen.add(id(inner))
        error = inner
    return redact_for_log(f"{type(error).__name__}: {error}")


def _cause(error: Exception) -> object:
    """What made urllib3 give up, which requests wraps twice; or the error itself."""
    wrapped = error.args[0] if error.args else error
    return getattr(wrapped, "reason", wrapped)


def _is_timeout(error: Exception) -> bool:
    # A timeout while sending comes as a plain ConnectionError: only what it was raised from tells.
    link: BaseException | None = error
    while link is not None and not isinstance(link, TimeoutError | requests.exceptions.Timeout):
        link = link.__context__
    return link is not None


def _is_no_connection(error: Exception) -> bool:
    return isinstance(_cause(error), NewConnectionError)


def _reason(error: Exception) -> str:
    cause = _cause(error)
    if isinstance(cause, NameResolutionError):
        return "its name is not known"
    if isinstance(cause, NewConnectionError):
        return "it takes no connections"
    if _is_timeout(error):
        return "no connection in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "the TLS handshake failed"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "the connection ended before the request was sent"
    return "its address cannot be used"
