"""Texts of other systems in the log: truncated, on one line, without secrets."""

import time

import pytest

from domain.log_texts import MAX_LENGTH, redact_for_log

SECRET = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        "Access denied … password=hunter2 for user joe",
        "password = hunter2",
        "password: hunter2",
        "PASSWORD:'hunter2'",
        '{"password": "hunter2 and more hunter2", "user": "joe"}',
        "{'passwd' => 'hunter2'}",
        "the password is hunter2",
        "Lösenord: hunter2",
        "adgangskode=hunter2",
        "pwd=hunter2;database=oep",
        "db.password=hunter2",
        "userPassword=hunter2&x=1",
        "spring.datasource.password=hunter2",
        "token=hunter2",
        "access_token:hunter2",
        "apikey=hunter2",
        "api-key: hunter2",
        "X-Api-Key: hunter2",
        "client_secret=hunter2",
        "Authorization: Basic hunter2",
        "Authorization: Bearer hunter2",
        "sent Bearer hunter2abc to it",
        "Cookie: JSESSIONID=hunter2",
        "jsessionid=1; sessionId=hunter2",
        "<password>hunter2</password>",
        '<oep:password type="text">hunter2</oep:password>',
        "jdbc:mysql://oep:hunter2@db.example/oep",
        "password=\nhunter2",
        'password="hunter2',
        "x" * 280 + " password=hunter2",
        "cannot store 'hej hunter2' at row 1",
        'cannot store "hej hunter2',
        "cannot store '" + "x" * 70 + SECRET + "'",
    ],
)
def test_redact_for_log_removes_secrets(text):
    assert SECRET not in redact_for_log(text)
    assert "removed" in redact_for_log(text) or len(text) > MAX_LENGTH - 20


@pytest.mark.parametrize(
    "value",
    [
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "b2VwLnVzZXI6aGVtbGlndCDDpQ0K1234==",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJlMTIzNDU2Nzg5",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLwSw",
        "sk-abcdefghijkl",
        "9999999901",
        "999999-9901",
        "19121212-1212",
        "191212121212",
    ],
)
@pytest.mark.parametrize("around", ["{}", "value {} was refused", "({})", "x={}."])
def test_redact_for_log_removes_values_that_resemble_secrets(value, around):
    found = redact_for_log(around.format(value))
    assert not any(part in found for part in value.split("."))


@pytest.mark.parametrize(
    "text",
    [
        "FlowInstance with ID 1068 not found",
        "Access denied to flow instance 1068 for user joe01doe",
        "se.unlogic.hierarchy.core.exceptions.AccessDeniedException",
        "WebMessage with id '81471222-5798-41e9-ae24-57fa13b361e1' not found",
        "HTTPConnectionPool(host='127.0.0.1', port=8080): Read timed out.",
        "[Errno 111] Connection refused",
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1006)",
        "Ärendet är stängt sedan 2026-03-01 12:00:00",
        "",
    ],
)
def test_redact_for_log_does_not_change_plain_texts(text):
    assert redact_for_log(text) == text


def test_redact_for_log_returns_one_bounded_line():
    found = redact_for_log("a\r\nb\x00\x1b[31m\u2028c" + " word" * 10_000)
    assert found.startswith("a b\ufffd\ufffd[31m c word")
    assert len(found) == MAX_LENGTH + 1


@pytest.mark.parametrize(
    "piece", ["a", "password", "password=", "<password", "1a", "a-", " ", "://", "://a", "Bearer ", "0"]
)
def test_redact_for_log_is_fast_for_every_text(piece):
    start = time.process_time()
    redact_for_log(piece * 100_000)
    # Milliseconds; a pattern with unlimited backtracking takes minutes.
    assert time.process_time() - start < 10
