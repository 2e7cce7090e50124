"""The faults of Open-E's callback, each with Open-E's text and, for the journal, a plain explanation.

Texts that are marked as inferred are not from the platform's code.
"""

from mock_open_e.behaviour.namespaces import CALLBACK_NAMESPACE
from mock_open_e.behaviour.soap_fault import SoapFault

_NULL_POINTER = "java.lang.NullPointerException: "
_RUNTIME = "java.lang.RuntimeException: "
_SHOWN = 80
"""Maximum characters of a wrong value in an explanation."""


def quote(value: object) -> str:
    """Return a value for an explanation: quoted and truncated."""
    text = str(value)
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def not_found(case: int | None, received: str = "") -> SoapFault:
    """Return the fault for an unknown case, or with None for a request without a valid case number."""
    number = "null" if case is None else case
    return SoapFault(
        f"The requested flow instance with ID {number} was not found",
        detail="FlowInstanceNotFoundFault",
        received=received or f"the case {number}, which is not known here",
        accepted=f"a known case, a positive xs:int, in flowInstanceID of the namespace {CALLBACK_NAMESPACE}",
    )


def not_in_allowed_families(case: int) -> SoapFault:
    """Return the fault for a case of a flow family that this Open-E does not expose."""
    return SoapFault(
        "The requested flow instance was not found",
        detail="FlowInstanceNotFoundFault",
        received=f"the case {case}, whose flow family is not allowed in this Open-E",
        accepted="a case in one of the allowed flow families",
    )


def access_denied(account: str | None = None) -> SoapFault:
    """Return the fault for a caller without access to the flow family of the case."""
    caller = "no account" if account is None else quote(account)
    return SoapFault(
        "This user does not have access to this flow family",
        detail="AccessDeniedFault",
        received=f"a call by {caller}, without access to the case's flow family",
        accepted="a call by an account with access to the case's flow family",
    )


def external_id_only(*, prefix: bool) -> SoapFault:
    """Return the fault for a case with only an external id. Some operations include the exception's class."""
    return SoapFault(
        f"{_RUNTIME if prefix else ''}External ID support not implemented",
        received="externalID without flowInstanceID",
        accepted="flowInstanceID; Open-E cannot find a case by its external id",
    )


def message_missing() -> SoapFault:
    """Return the fault for a missing message element."""
    return SoapFault(
        f"{_NULL_POINTER}Integration message cannot be null",
        received="no message element in the callback's namespace",
        accepted=f"a message element in the namespace {CALLBACK_NAMESPACE}, with the elements added and message",
    )


def added_missing(value: str | None) -> SoapFault:
    """Return the fault for a time of the message that is absent or invalid."""
    return SoapFault(
        f"{_NULL_POINTER}Added field cannot be null",
        received="no added element in the message"
        if not value
        else f"added {quote(value)}, which is not an xs:dateTime",
        accepted="added as xs:dateTime or xs:date, such as 2026-02-19T07:57:06.123+01:00",
    )


def text_empty() -> SoapFault:
    """Return the fault for a text that is absent or blank."""
    return SoapFault(
        f"{_RUNTIME}Message field cannot be null or empty",
        received="a message without text: it is absent or blank, or it follows a tag inside the element",
        accepted="text in message/message that is not blank, with < and & escaped",
    )


def filename_empty() -> SoapFault:
    """Return the fault for a file without a name."""
    return SoapFault(
        f"{_RUNTIME}Filename field cannot be null or empty",
        received="an attachment without a filename",
        accepted="a filename in each attachment; it must not be blank",
    )


def data_missing(*, is_there: bool) -> SoapFault:
    """Return the fault for a file without data, or with data that is not base64."""
    return SoapFault(
        f"{_NULL_POINTER}Encoded data field cannot be null",
        received="encodedData that is not base64" if is_there else "an attachment without encodedData",
        accepted="the bytes of the file as base64 in encodedData; it may contain white space",
    )


def size_wrong(value: str | None) -> SoapFault:
    """Return the fault for a file without a size, or with a size that is not positive."""
    return SoapFault(
        f"{_RUNTIME}Size cannot be < 0",
        received="an attachment without size" if value is None else f"the size {quote(value)}",
        accepted="the length of the file in bytes, at least 1",
    )


def read_receipts_not_enabled(flow: str) -> SoapFault:
    """Return the fault for a requested read receipt on a flow without that feature."""
    return SoapFault(
        f"Read receipts not enabled on flow {flow}",
        received="readReceiptEnabled true for a flow without read receipts",
        accepted="readReceiptEnabled false or absent",
    )


def read_receipts_on_internal_message() -> SoapFault:
    """Return the fault for a requested read receipt on an internal message."""
    return SoapFault(
        "Read receipts not allowed for internal message",
        received="readReceiptEnabled true in an internal message",
        accepted="readReceiptEnabled false or absent",
    )


def too_long(column: str) -> SoapFault:
    """Return the fault for a value that exceeds its column. The text is inferred."""
    return SoapFault(
        f"java.sql.SQLException: Data too long for column '{column}' at row 1",
        received=f"a value of {column} that is too long for its database column",
        accepted="a message of at most 16777215 bytes in UTF-8, names of at most 255 "
        "characters, sizes of at most 4294967295, attributes of at most 65535 characters",
    )


def status_not_found(status: object, flow: str) -> SoapFault:
    """Return the fault for an unknown status of the flow."""
    return SoapFault(
        f"Status with ID {status} not found for flow {flow}",
        detail="StatusNotFoundFault",
        received=f"the status {quote(status)}",
        accepted="the statusID or statusAlias of a status of the case's flow",
    )


def deleting_not_supported() -> SoapFault:
    """Return the fault for deleting a case, which Open-E never permits."""
    return SoapFault(
        "Deleting of flow instances is currently not supported",
        detail="AccessDeniedFault",
        received="deleteInstance",
        accepted="nothing; Open-E rejects every deleteInstance",
    )


def managers_not_valid(names: str) -> SoapFault:
    """Return the fault for users that may not be managers of the case's flow."""
    return SoapFault(
        "One or more of the specified users/groups are not valid managers for this flow",
        detail="AccessDeniedFault",
        received=f"managers or groups that are not valid: {quote(names)}",
        accepted="users and groups that the case's flow family lists as managers",
    )


def attribute_without_name() -> SoapFault:
    """Return the fault for an attribute without a name. The text is inferred."""
    return SoapFault(
        f"{_NULL_POINTER}Name field cannot be null",
        received="setAttribute without a name",
        accepted="a name; it must not be blank",
    )


def no_such_operation(name: str) -> SoapFault:
    """Return the fault for an unknown operation."""
    return SoapFault(
        f"Cannot find dispatch method for {name}",
        code="Client",
        received=f"the element {quote(name)} in the body" if name != "{}" else "an empty body",
        accepted=f"an operation that the WSDL (?wsdl) lists, in the namespace {CALLBACK_NAMESPACE}",
    )
