"""Checks of Open-E: reachable, credentials accepted, messageapi permitted, certificate, clock."""

from collections.abc import Callable
from datetime import datetime, timedelta

from budkavle.daemon_threads import run_in_daemon_thread
from budkavle.doctor.certificates import check_expiry
from budkavle.doctor.findings import Findings
from domain.web_messages import OepInstance
from open_e.accounts import Account
from open_e.probe import ProbeResponse, probe_callback, probe_messageapi

CALL_SECONDS = 3.5
"""Timeout of each of the two calls."""

MAX_DIFFERENCE = timedelta(seconds=60)
"""Difference of clocks from which there is a warning. Open-E shows times in minutes."""


async def check_open_e(
    findings: Findings, instance: OepInstance, account: Account | None, now: Callable[[], datetime]
) -> None:
    """Check one instance with two reads, neither of which changes anything."""
    if account is None:
        findings.add_ok("not configured")
        return
    variable = f"BUDKAVLE_OPEN_E_{instance.name}"
    callback = await run_in_daemon_thread(probe_callback, account, CALL_SECONDS)
    _check_callback(findings, callback, variable)
    if callback.fault is not None:
        return
    moment = now()
    if callback.expires is not None:
        check_expiry(findings, "its certificate", callback.expires, moment)
    if callback.date is not None and abs(callback.date - moment) > MAX_DIFFERENCE:
        seconds = (moment - callback.date).total_seconds()
        findings.add_warning(
            f"its clock and that of this machine differ by {seconds:+.0f} seconds", "correct the one that is wrong"
        )
    _check_messageapi(findings, await run_in_daemon_thread(probe_messageapi, account, moment, CALL_SECONDS), variable)


def _check_callback(findings: Findings, response: ProbeResponse, variable: str) -> None:
    if response.fault is not None:
        findings.add_problem(
            f"no answer: {response.fault}", f"check {variable}_URL, BUDKAVLE_OPEN_E_CA and the network"
        )
    elif response.is_refused:
        findings.add_problem(
            f"the account is refused (status {response.status})", f"correct {variable}_USERNAME and {variable}_PASSWORD"
        )
    elif not response.is_expected:
        findings.add_problem(
            f"the URL is not that of the callback: no WSDL there (status {response.status})", f"correct {variable}_URL"
        )
    else:
        findings.add_ok("the callback answers, and accepts the account")


def _check_messageapi(findings: Findings, response: ProbeResponse, variable: str) -> None:
    remedy = "without the messageapi, messages in doubt must be decided by hand: give the account access to it"
    if response.fault is not None:
        findings.add_problem(f"the messageapi does not answer: {response.fault}", remedy)
    elif response.is_refused:
        findings.add_problem(f"{variable}_USERNAME may not use the messageapi (status {response.status})", remedy)
    elif not response.is_expected:
        findings.add_warning(f"the messageapi answers with status {response.status}, not with a list", remedy)
    else:
        findings.add_ok("the messageapi answers")
