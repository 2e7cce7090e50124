"""Errors by meaning."""

import pytest

from domain import errors
from domain.errors import (
    BudkavleError,
    CallerRefused,
    Invalid,
    NotFound,
    RefusalReason,
    StorageBlocked,
    StorageFailed,
    StorageRejected,
    StorageUncertain,
    Violation,
)

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BudkavleError)]

OF_STORAGE = (StorageFailed, StorageBlocked, StorageRejected, StorageUncertain)
REASON = RefusalReason.UNKNOWN_KEY


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not Invalid])
def test_docstring_of_an_error_is_its_default_message(kind: type[BudkavleError]) -> None:
    error = kind(REASON) if issubclass(kind, CallerRefused) else kind()  # type: ignore[arg-type]  # There is no narrower type.
    assert str(error) == kind.__doc__
    assert str(error).endswith(".")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {Invalid, *OF_STORAGE}])
def test_error_uses_the_given_message(kind: type[BudkavleError]) -> None:
    error = kind(REASON, "because") if issubclass(kind, CallerRefused) else kind("because")  # type: ignore[arg-type,call-arg]
    assert str(error) == "because"


def test_storage_failure_keeps_its_reason_for_the_log() -> None:
    error = StorageFailed("DiskFull 53100")
    assert (str(error), error.reason) == (str(StorageFailed()), "DiskFull 53100")


def test_message_with_percent_and_braces_is_unchanged() -> None:
    assert str(NotFound("100 % {of} %s")) == "100 % {of} %s"


def test_invalid_keeps_each_violation_once_in_order() -> None:
    violations = [Violation("b", "x"), Violation("a", "y"), Violation("b", "x"), Violation("a", "x")]
    error = Invalid(violations)
    assert error.violations == (Violation("a", "x"), Violation("a", "y"), Violation("b", "x"))
    assert str(error) == "The request breaks the contract."


def test_violations_are_unique_and_sorted_by_entry_field_code_and_message() -> None:
    violations = [
        Violation(field, message, code, index)
        for index in (2, None, 10, 0)
        for field in ("b", "a")
        for code in (None, 3, 1)
        for message in ("y", "x")
    ]
    found = Invalid([*violations, *reversed(violations)]).violations
    assert list(found) == sorted(violations, key=lambda violation: violation.order)
