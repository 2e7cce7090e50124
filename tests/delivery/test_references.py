"""References in the catalogue."""

import re

import pytest

from delivery.references import (
    MAX_BYTES,
    MAX_VALUE,
    ReceiverMisconfigured,
    read_file,
    read_signing_key,
    read_value,
    resolve_path,
)


def test_secret_is_read_from_a_variable(monkeypatch):
    monkeypatch.setenv("FASIT_SECRET", "whsec_AQID")
    assert read_signing_key("env:FASIT_SECRET") == b"\1\2\3"


def test_secret_is_read_from_a_file(secret_file):
    secret_file.write_text("AQID\n")
    assert read_signing_key(f"file:{secret_file}") == b"\1\2\3"


@pytest.mark.parametrize("value", [b"", b"hemmelig!", b"\xff\xfe", b"whsec_"])
def test_secret_of_logs_the_reference_and_never_the_value(secret_file, value):
    secret_file.write_bytes(value)
    with pytest.raises(ReceiverMisconfigured) as caught:
        read_signing_key(f"file:{secret_file}")
    assert re.match(rf"file:{re.escape(str(secret_file))} (contains no secret|is not UTF-8 text)", str(caught.value))
    assert "hemmelig" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("value", ["a", "Basic YTpi", "a" * MAX_VALUE, "~ !"])
def test_value_of_a_header_is_read_without_the_white_space_around_it(secret_file, monkeypatch, value):
    secret_file.write_text(f" {value}\r\n")
    monkeypatch.setenv("KEY", f"\t{value} ")
    assert read_value(f"file:{secret_file}") == read_value("env:KEY") == value


@pytest.mark.parametrize(
    "value", ["", " \n", "hemmelig\nX: 1", "hemmelig\t1", "hemmelig\x7f", "hemmelig ø", "h" * (MAX_VALUE + 1)]
)
def test_value_that_a_header_cannot_contain_is_not_repeated(secret_file, value):
    secret_file.write_text(value)
    with pytest.raises(ReceiverMisconfigured) as caught:
        read_value(f"file:{secret_file}")
    assert str(caught.value) == f"file:{secret_file} must contain 1 to 4096 printable ASCII characters"


def test_secret_of_an_unset_variable_is_an_error():
    with pytest.raises(ReceiverMisconfigured, match=r"^env:NO_SUCH_SECRET is not set$"):
        read_signing_key("env:NO_SUCH_SECRET")


@pytest.mark.parametrize("reference", ["whsec_AQID", "https:AQID", "file:", ""])
def test_invalid_reference_is_not_repeated(reference):
    with pytest.raises(ReceiverMisconfigured, match=r"^a reference must be env:NAME or file:PATH$"):
        read_signing_key(reference)


def test_path_may_contain_a_colon():
    assert str(resolve_path("file:/a:b")) == "/a:b"


def test_read_file_reports_the_reason_of_a_failure(tmp_path):
    for reference, why in (
        (f"file:{tmp_path / 'absent'}", "No such file"),
        (f"file:{tmp_path}", "Is a directory"),
        ("file:/a\0b", "its name is invalid"),
    ):
        with pytest.raises(ReceiverMisconfigured, match=why):
            read_file(reference)


def test_read_file_respects_its_limit(secret_file):
    secret_file.write_bytes(b"a" * MAX_BYTES)
    assert len(read_file(f"file:{secret_file}")) == MAX_BYTES
    secret_file.write_bytes(b"a" * (MAX_BYTES + 1))
    with pytest.raises(ReceiverMisconfigured, match="is larger than 1048576 bytes"):
        read_file(f"file:{secret_file}")
