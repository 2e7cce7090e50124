"""Pages that list the members of an enum, so that a new member is documented."""

import re
from collections.abc import Iterable

import pytest

from domain.deliveries import AttemptOutcome, DeliveryState, Obstacle, Reason, ReceiverResponse, decide_outcome
from domain.errors import RefusalReason
from domain.subscriptions import ErrorCode
from domain.web_messages import UNSETTLED_STATES
from handlers.errors.error_lists import find_missing_credential
from handlers.security.access_tokens import BindingFault
from handlers.tallies.refusals import MAX_CALLERS, NOT_CHECKED, get_max_callers
from oauth2.tokens import TokenFault
from openapi.server.connections import ExceededLimit
from openapi.server.protocol import _REJECTIONS
from tests.processes import REPOSITORY

DOCS = REPOSITORY / "docs"


def read_cells(page: str, header: str, column: int) -> list[str]:
    """Return the codes of one column of the table with this header, in order."""
    (table,) = re.findall(rf"^{re.escape(header)}\n\|[-|]+\n((?:\|.*\n)+)", (DOCS / page).read_text(), re.MULTILINE)
    return [row.split("|")[column].strip(" `") for row in table.splitlines()]


def read_metric_codes(name: str) -> list[str]:
    """Return the codes in the description of a metric."""
    (text,) = re.findall(rf"^\| `{name}` \|.*?\|(.*)\|$", (DOCS / "reference" / "metrics.md").read_text(), re.MULTILINE)
    return re.findall(r"`(\w+)`", text)


@pytest.mark.parametrize(
    ("metric", "codes"),
    [
        ("budkavle_refused_requests_total", RefusalReason),
        ("budkavle_refused_tokens_total", [*TokenFault, *BindingFault]),
        ("budkavle_closed_connections_total", [*ExceededLimit, "limit"]),
        ("budkavle_malformed_requests_total", _REJECTIONS),
        ("budkavle_delivery_attempts_total", [*AttemptOutcome, "2xx", "5xx"]),
        ("budkavle_messages_in_doubt", UNSETTLED_STATES),
        ("budkavle_queue_deliveries", DeliveryState),
    ],
)
def test_metrics_page_lists_each_label(metric: str, codes: Iterable[str]) -> None:
    assert read_metric_codes(metric) == list(codes), f"the labels of {metric} in docs/reference/metrics.md"


def test_page_of_messages_in_doubt_describes_each_state() -> None:
    page = "how-to/in-doubt-messages.md"
    (text,) = re.findall(r"^\| `state` \| (.*) \|$", (DOCS / page).read_text(), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`: ", text)) == set(UNSETTLED_STATES), f"the row of `state` in docs/{page}"


def test_deliveries_page_lists_each_reason_and_obstacle() -> None:
    page = "how-to/deliveries.md"
    reasons = read_cells(page, "| `reason` of the last attempt | cause | what to do |", 1)
    assert reasons == list(Reason), f"the table of reasons in docs/{page}"
    assert read_cells(page, "| command | answer | meaning |", 2) == list(Obstacle), (
        f"the table of answers in docs/{page}"
    )


@pytest.mark.parametrize(
    "page", ["how-to/deliveries.md", "how-to/receive-webhooks.md", "explanation/delivery-guarantees.md"]
)
def test_page_names_each_status_of_a_receiver_that_does_not_park(page: str) -> None:
    responses = [ReceiverResponse(status, Reason.HTTP) for status in range(400, 500)]
    expected = {str(each.status) for each in responses if decide_outcome(each) is not AttemptOutcome.PARK}
    missing = expected - set(re.findall(r"\b4\d\d\b", (DOCS / page).read_text()))
    assert not missing, f"say in docs/{page} what happens to a delivery that is answered with {missing}"


def test_audit_page_lists_each_reason_and_the_limit_of_entries() -> None:
    """Operations that need a key are not audited, but those that need a certificate accept a token with it."""
    reasons = [
        reason
        for reason in RefusalReason
        if find_missing_credential(reason) is ErrorCode.NO_CERTIFICATE or reason is RefusalReason.INVALID_TOKEN
    ]
    found = read_cells("how-to/audit.md", "| reason | meaning |", 1)
    assert found == [*reasons, NOT_CHECKED], "the table of reasons in docs/how-to/audit.md"
    unknown = [reason for reason in (*reasons, None) if get_max_callers(reason) == MAX_CALLERS]
    assert f"at most {len(unknown) * (2 * MAX_CALLERS + 1)} entries" in (DOCS / "how-to" / "audit.md").read_text()
