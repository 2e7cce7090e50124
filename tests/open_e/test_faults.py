import pytest
import requests
from urllib3.exceptions import MaxRetryError, NameResolutionError, NewConnectionError, ProtocolError

from domain.errors import BackendRefused, BackendUnavailable, NotFound, OutcomeUnknown
from open_e.envelopes import SoapFault
from open_e.faults import get_message_id, map_call_error

NOT_FOUND = SoapFault("Server", "No such case", ("FlowInstanceNotFoundFault",))
DENIED = SoapFault("Server", "No access", ("AccessDeniedFault",))


def test_message_id_returns_the_id_of_a_published_message():
    assert get_message_id(200, 151) == 151


@pytest.mark.parametrize("status", [200, 404, 500, 503])
def test_message_id_raises_not_found_for_any_status(status):
    with pytest.raises(NotFound, match="No such case"):
        get_message_id(status, NOT_FOUND)


@pytest.mark.parametrize(
    ("status", "response", "words"),
    [
        (200, DENIED, "No access"),
        (500, DENIED, "No access"),
        (500, SoapFault("Client", "Cannot find dispatch method"), "Cannot find dispatch method"),
        (500, SoapFault("Client.Authentication", "Who?"), "Who?"),
        (500, SoapFault("VersionMismatch", ""), "VersionMismatch"),
        (500, SoapFault("MustUnderstand", "Header"), "Header"),
        (302, None, "302"),
        (401, None, "401"),
        (404, 151, "404"),
        (415, SoapFault("Server", "odd"), "415"),
    ],
)
def test_message_id_raises_backend_refused(status, response, words):
    with pytest.raises(BackendRefused, match=words):
        get_message_id(status, response)


@pytest.mark.parametrize(
    ("status", "response"),
    [
        (500, SoapFault("Server", "secret text")),
        (500, SoapFault("Server", "secret text", ("SomethingElse",))),
        (200, SoapFault("", "secret text")),
        (500, None),
        (500, 151),
        (503, None),
        (200, None),
        (202, 151),
        (103, None),
    ],
)
def test_message_id_raises_outcome_unknown_without_quoting(status, response):
    with pytest.raises(OutcomeUnknown) as caught:
        get_message_id(status, response)
    assert "secret" not in str(caught.value)


def test_message_id_truncates_a_long_faultstring():
    with pytest.raises(BackendRefused) as caught:
        get_message_id(500, SoapFault("Client", "x" * 100_000))
    assert len(str(caught.value)) == 1000


@pytest.mark.parametrize(
    "error",
    [
        requests.ConnectTimeout(),
        requests.exceptions.SSLError(),
        requests.exceptions.InvalidURL(),
        requests.exceptions.MissingSchema(),
        requests.ConnectionError(MaxRetryError(None, "/", NewConnectionError(None, "refused"))),
        requests.ConnectionError(MaxRetryError(None, "/", NameResolutionError("h", None, OSError()))),
        requests.ConnectionError(NewConnectionError(None, "refused")),
    ],
)
def test_failure_before_a_connection_is_unavailable(error):
    assert isinstance(map_call_error(error, sent=None), BackendUnavailable)


@pytest.mark.parametrize(
    "error",
    [
        requests.ConnectionError(),
        requests.ConnectionError("lost"),
        requests.ConnectionError(ProtocolError("Connection aborted.", ConnectionResetError())),
        requests.ReadTimeout(),
        requests.exceptions.ChunkedEncodingError(),
        ProtocolError("odd"),
    ],
)
def test_failure_of_an_untracked_call_is_unknown(error):
    assert isinstance(map_call_error(error, sent=None), OutcomeUnknown)


def test_failure_depends_on_the_sent_bytes_if_they_are_tracked():
    assert isinstance(map_call_error(requests.ConnectionError(), sent=False), BackendUnavailable)
    assert isinstance(map_call_error(requests.exceptions.SSLError(), sent=True), OutcomeUnknown)
