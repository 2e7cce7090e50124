"""Broken servers of subscriptions that the check once did not detect."""

from pathlib import Path

import pytest

from tests.contract_tests.breakages import Case
from tests.contract_tests.breakages_of_deliveries import OF_DELIVERIES
from tests.contract_tests.breakages_of_event_statuses import OF_EVENT_STATUSES
from tests.contract_tests.breakages_of_events import OF_EVENTS
from tests.contract_tests.breakages_of_receipts import OF_RECEIPTS
from tests.contract_tests.breakages_of_systems import OF_SYSTEMS
from tests.contract_tests.checking import Server, assert_caught

ALL = OF_SYSTEMS | OF_EVENTS | OF_EVENT_STATUSES | OF_DELIVERIES | OF_RECEIPTS


@pytest.mark.parametrize("case", ALL.values(), ids=ALL.keys())
def test_broken_server_is_detected(
    case: Case, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_caught(case, server, tmp_path, capsys)
