"""Map responses and errors of Open-E to the outcome of the message: published, refused or unknown.

The classes are those of decision 0007. A fault does not prove that nothing was stored, because
Open-E stores the message before it writes history and notifies people. Only two kinds of faults prove it: those that
addMessage declares, and those raised before the operation runs.

No error raised here contains message text, file names or credentials.
"""

import re

import requests
from urllib3.exceptions import NameResolutionError, NewConnectionError

from domain.errors import (
    AccessDenied,
    BackendRefused,
    BackendUnavailable,
    BudkavleError,
    ConnectionLost,
    NotFound,
    OutcomeUnknown,
    ResponseTimedOut,
)
from domain.log_texts import redact_for_log
from open_e.envelopes import SoapFault, SoapResponse

_RAISED_BEFORE_THE_OPERATION = frozenset({"Client", "VersionMismatch", "MustUnderstand"})
_LONGEST_TEXT = 1000
_QUOTED = re.compile(r"'[^']*'?|\"[^\"]*\"?")

# These errors are all raised before a byte of the request is sent.
_NEVER_SENT = (
    requests.exceptions.ConnectTimeout,
    requests.exceptions.SSLError,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidHeader,
)


def get_message_id(status: int, answer: SoapResponse) -> int:
    """Return the messageID of Open-E, given the HTTP status and the parsed response.

    Raises NotFound if the case does not exist, BackendRefused if Open-E has certainly not published the message,
    OutcomeUnknown otherwise.
    """
    if isinstance(answer, SoapFault):
        _raise_if_refused(answer)
    if 300 <= status < 500:  # noqa: PLR2004 (the two classes of HTTP responses that are errors)
        raise BackendRefused(f"Open-E answered {status}")
    if isinstance(answer, SoapFault):
        raise OutcomeUnknown(
            "Open-E answered a fault that does not say whether the message was published", _describe_fault(answer)
        )
    if status != requests.codes.ok:
        raise OutcomeUnknown(f"Open-E answered {status}")
    if answer is None:
        raise OutcomeUnknown("Open-E answered without a messageID")
    return answer


def _raise_if_refused(fault: SoapFault) -> None:
    text = fault.text[:_LONGEST_TEXT]
    if "FlowInstanceNotFoundFault" in fault.details:
        raise NotFound(text or "Open-E has no such case")
    if "AccessDeniedFault" in fault.details:
        raise AccessDenied(text)
    # SOAP 1.1 allows codes to be refined after a dot: Client.Authentication is a Client fault.
    if fault.code.partition(".")[0] in _RAISED_BEFORE_THE_OPERATION:
        raise BackendRefused(text or f"Open-E answered the fault {fault.code}")


def map_call_error(error: Exception, *, sent: bool | None) -> BudkavleError:
    """Return the error for a call without a response: BackendUnavailable or OutcomeUnknown.

    `sent` is whether a byte of the request may have been sent. None means that the connection was not one of ours; then
    the type of the error decides.
    """
    never_sent = isinstance(error, _NEVER_SENT) or _is_no_connection(error)
    if sent is False or (sent is None and never_sent):
        return BackendUnavailable(
            f"Open-E could not be reached: {_describe_reason(error)}", _describe_root_cause(error)
        )
    if _is_timeout(error):
        return ResponseTimedOut("Open-E did not answer in time", _describe_root_cause(error))
    return ConnectionLost("The connection to Open-E was lost before it answered", _describe_root_cause(error))


def _describe_fault(fault: SoapFault) -> str:
    """Return a fault for the log. Quoted text may be message content and is removed."""
    details = f" ({', '.join(fault.details)})" if fault.details else ""
    return redact_for_log(f"fault {fault.code}{details}: {_QUOTED.sub('[…]', fault.text[:_LONGEST_TEXT])}")


def _describe_root_cause(error: BaseException) -> str:
    """Return the innermost cause of an error for the log."""
    seen = {id(error)}
    while (inner := error.__cause__ or error.__context__) is not None and id(inner) not in seen:
        seen.add(id(inner))
        error = inner
    return redact_for_log(f"{type(error).__name__}: {error}")


def _find_cause(error: Exception) -> object:
    """Return the error of urllib3, which requests wraps twice, or the error itself."""
    wrapped = error.args[0] if error.args else error
    return getattr(wrapped, "reason", wrapped)


def _is_timeout(error: Exception) -> bool:
    # requests raises a timeout during sending as a plain ConnectionError; only its context reveals the timeout.
    link: BaseException | None = error
    while link is not None and not isinstance(link, TimeoutError | requests.exceptions.Timeout):
        link = link.__context__
    return link is not None


def _is_no_connection(error: Exception) -> bool:
    return isinstance(_find_cause(error), NewConnectionError)


def _describe_reason(error: Exception) -> str:
    cause = _find_cause(error)
    if isinstance(cause, NameResolutionError):
        return "its host name is unknown"
    if isinstance(cause, NewConnectionError):
        return "it accepts no connections"
    if _is_timeout(error):
        return "no connection in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "the TLS handshake failed"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "the connection ended before the request was sent"
    return "its address cannot be used"
