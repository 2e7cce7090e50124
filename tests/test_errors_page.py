"""The page of errors has every status and number of the contracts, as in the tables of the code."""

import json
import re
from collections.abc import Iterator

import pytest
import yaml

from budkavle.setting_values import COMPATIBILITY_APIS
from domain import errors
from domain.errors import BudkavleError, RefusalReason
from domain.subscriptions import Entry, ErrorCode
from handlers.errors import error_list_texts, error_lists
from openapi.errors import problems
from openapi.server import protocol
from tests.processes import REPOSITORY

PAGE = (REPOSITORY / "docs" / "reference" / "errors.md").read_text()
SUBSCRIPTIONS, MESSAGES, COMPATIBILITY, MALFORMED = (
    [
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line[:3] == "| 4" or line[:3] == "| 5"
    ]
    for section in PAGE.split("\n## ")[1:]
)
CALLS: tuple[BudkavleError, ...] = (
    errors.StorageFailed(),
    errors.StorageRejected(),
    errors.Overloaded(),
    errors.KeyNeeded(RefusalReason.NO_KEY),
    errors.TokenRejected(RefusalReason.INVALID_TOKEN),
    errors.IssuerKeysMissing(),
    errors.LacksScope(RefusalReason.KEY_LACKS_SCOPE),
    errors.PublicationForbidden(RefusalReason.PUBLICATION_NOT_AUTHORISED),
    errors.Unauthenticated(RefusalReason.NO_CERTIFICATE),
    errors.Forbidden(RefusalReason.SYSTEM_NOT_AUTHORISED),
    errors.Conflict(),
    errors.EventNotFound(),
    errors.NotFound(),
    errors.UnsupportedMediaType(),
    errors.TooLarge(limit=1),
    errors.TooManyFailures(RefusalReason.NO_KEY),
    errors.TooManyFailures(RefusalReason.NO_CERTIFICATE),
    BudkavleError(),
)
"""An error of each kind in responses of the subscriptions, except violations."""


def list_expected_errors() -> Iterator[tuple[int, int, str]]:
    """Yield status, number and text of every error of the subscriptions."""
    for error in CALLS:
        response = error_lists.render_error(error)
        (listed,) = json.loads(response.body)["errors"]
        yield response.status_code, listed["errorCode"], listed["message"]
    for code, text in error_list_texts._RULES.items():
        yield 400, code, text if isinstance(text, str) else text(Entry(0, 1, 101, 202))
    yield 400, ErrorCode.NOT_VALID, error_list_texts.build_contract_violation("mangler").message


def matches(row: list[str], status: int, code: int, text: str) -> bool:
    pattern = ".*".join(map(re.escape, row[2].split("…")))
    return row[:2] == [str(status), str(code)] and re.fullmatch(pattern, text) is not None


def list_statuses(contract: str) -> set[str]:
    """Return the statuses of errors that a contract documents."""
    spec = yaml.safe_load((REPOSITORY / "spec" / f"{contract}.yaml").read_text())
    operations = (operation for path in spec["paths"].values() for operation in path.values())
    return {status for operation in operations for status in operation["responses"] if status >= "400"}


def test_page_lists_exactly_the_errors_of_the_subscriptions() -> None:
    expected = set(list_expected_errors())
    for each in expected:
        assert [row for row in SUBSCRIPTIONS if matches(row, *each)], f"add a row to docs/reference/errors.md: {each}"
    for row in SUBSCRIPTIONS:
        assert [each for each in expected if matches(row, *each)], (
            f"no error fits this row of docs/reference/errors.md: {row}"
        )


def test_page_shows_each_number_and_status() -> None:
    assert {row[1] for row in SUBSCRIPTIONS} == {str(int(code)) for code in ErrorCode}, (
        "rows of docs/reference/errors.md"
    )
    assert {row[0] for row in SUBSCRIPTIONS} == list_statuses("subscriptions"), "statuses in docs/reference/errors.md"
    assert set(error_lists._KIND) <= {type(error) for error in CALLS}, "add an error of the new kind to CALLS"


def test_page_shows_each_status_of_web_messages() -> None:
    # No operation documents 405, the response to an unsupported method.
    assert {row[0] for row in MESSAGES} == list_statuses("web-messages") | {"405"}


def test_page_shows_each_status_of_compatibility_apis_that_web_messages_lack() -> None:
    documented = set[str]().union(*map(list_statuses, COMPATIBILITY_APIS))
    shown = {row[0] for row in COMPATIBILITY}
    assert documented - list_statuses("web-messages") <= shown <= documented


@pytest.mark.parametrize("row", MESSAGES + COMPATIBILITY, ids=lambda row: row[0])
def test_page_shows_the_title_of_each_problem(row: list[str]) -> None:
    status = next(status for status in problems.HTTPStatus if status == int(row[0]))
    assert row[1] == ("Constraint Violation" if status == 400 else problems.get_phrase(status))


def test_page_shows_each_rejection_of_malformed_requests() -> None:
    rejections = {(str(status.value), reason) for reason, (status, _) in protocol._REJECTIONS.items()}
    assert {(row[0], row[1]) for row in MALFORMED} == rejections
