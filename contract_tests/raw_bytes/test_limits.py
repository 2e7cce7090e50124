"""Bodies over the limits, generated while they are sent: the service stops reading, with any announced length."""

import base64
from collections.abc import Iterator

import pytest

from contract_tests.attacks import (
    FORM,
    JSON,
    REFUSED_CASE,
    accepted_reference,
    assert_in_order,
    assert_problem,
    assert_refused,
    assert_violations,
    attachment,
    file_part,
    form,
    message_part,
    post,
    request,
    text,
)
from contract_tests.target import CheckTarget

LIMIT = 150 * 1024 * 1024
MAX_FILE = 10 * 1024 * 1024
PIECE = 1024 * 1024
FIELD = "attachments[0].base64Data"

pytestmark = [pytest.mark.needs("sender"), pytest.mark.one_database]


def in_chunks(start: bytes, filling: bytes, size: int) -> Iterator[bytes]:
    """Yield a body of `size` bytes that begins with `start`, in chunks, without building it in memory."""
    yield b"%x\r\n%s\r\n" % (len(start), start)
    chunk = b"%x\r\n%s\r\n" % (PIECE, filling * PIECE)
    for _ in range((size - len(start)) // PIECE + 1):
        yield chunk
    yield b"0\r\n\r\n"


@pytest.mark.parametrize("content_type", [JSON, FORM])
@pytest.mark.parametrize("length", [LIMIT + 1, 10**12, 2**63 - 1])
def test_body_with_an_excessive_length_is_refused_before_it_is_sent(
    length: int, content_type: str, target: CheckTarget
) -> None:
    data = post(b"", content_type, headers=[f"Content-Length: {length}"])
    assert_problem(target.send(data, is_unfinished=True), 413)


def test_body_with_an_excessive_length_gets_no_100_continue(target: CheckTarget) -> None:
    headers = [f"Content-Length: {LIMIT + 1}", "Expect: 100-continue"]
    with target.connect() as connection:
        connection.send(post(b"", headers=headers))
        answer = connection.read_response()
        if answer is not None and answer.status == 100 and not answer.is_direct:
            # A gateway with a higher limit than ours sends 100 Continue before the service can respond.
            connection.end_sending()
            answer = connection.read_response()
    assert_refused(answer)
    if answer is not None:
        assert_problem(answer, 413)


def test_key_is_checked_before_the_length(target: CheckTarget) -> None:
    data = post(b"", headers=[f"Content-Length: {LIMIT + 1}"], key=None)
    assert_problem(target.send(data, is_unfinished=True), 401)


BASE64 = b'{"attachments": [{"fileName": "a", "base64Data": "'
FILE = form(message_part(), file_part()).removesuffix(b"Hello\n\r\n--XX--\r\n")


@pytest.mark.parametrize(
    ("content_type", "start", "filling"),
    [(JSON, b" ", b" "), (JSON, BASE64, b"A"), (JSON, b'{"message": "', b"a"), (FORM, FILE, b"A")],
    ids=["white space", "base64", "text", "file"],
)
def test_chunked_body_over_the_limit_is_refused(
    content_type: str, start: bytes, filling: bytes, target: CheckTarget
) -> None:
    data = post(b"", content_type, headers=["Transfer-Encoding: chunked"])
    assert_problem(target.send(data, *in_chunks(start, filling, LIMIT + 1)), 413)


def test_endless_body_is_refused_while_it_is_sent(target: CheckTarget) -> None:
    """The response arrives although the body has no end."""
    data = post(b"", headers=["Transfer-Encoding: chunked"])
    never_ending = list(in_chunks(b" ", b" ", 70 * 1024 * 1024))[:-1]
    assert_problem(target.send(data, *never_ending, is_unfinished=True), 413)


def test_file_is_limited_to_10_mib(target: CheckTarget) -> None:
    for size, is_taken in ((MAX_FILE, True), (MAX_FILE + 1, False)):
        reference = accepted_reference() if is_taken else REFUSED_CASE
        content = base64.b64encode(bytes(size)).decode()
        as_json = target.send(post(text(externalReferences=[reference], attachments=[attachment(base64Data=content)])))
        part = message_part(text(externalReferences=[reference]))
        as_form = target.send(post(form(part, file_part(bytes(size))), FORM))
        if is_taken:
            assert (as_json.status, as_form.status) == (201, 201)
        else:
            assert_violations(as_json, FIELD)
            assert_violations(as_form, "attachments[0]")


@pytest.mark.parametrize(("character", "count"), [("a", 16_777_216), ("å", 8_388_608), ("\U0001f600", 4_194_304)])
def test_message_is_limited_to_the_bytes_that_open_e_can_store(character: str, count: int, target: CheckTarget) -> None:
    # UTF-8 is sent as it is: JSON with escapes would have three times its bytes. `rules` send escapes.
    body = text(message="TEXT").replace(b"TEXT", character.encode() * count)
    assert_violations(target.send(post(body)), "message")
    assert_violations(target.send(post(form(message_part(body)), FORM)), "message")


def test_long_field_is_refused(target: CheckTarget) -> None:
    long = "x " * PIECE
    assert_violations(target.send(post(text(attachments=[attachment(fileName=long)]))), "attachments[0].fileName")
    assert_violations(target.send(post(text(partyId=long, oepInstance=long))), "oepInstance", "partyId")


def test_connection_is_usable_after_an_early_refusal(target: CheckTarget) -> None:
    with target.connect() as connection:
        connection.send(post(b" " * 100_000, "text/plain"), request())
        assert_in_order([connection.read_response(), connection.read_response()], 415, 200)
