"""All checks of an installation."""

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import fields, replace
from functools import partial

from budkavle.clock import now
from budkavle.daemon_threads import run_in_daemon_thread
from budkavle.doctor.certificates import check_receiver_certificates, check_server_certificates
from budkavle.doctor.database import DatabaseChecks
from budkavle.doctor.findings import Check, CheckSkipped, Finding, Findings, run_checks
from budkavle.doctor.issuers import check_issuers
from budkavle.doctor.machine import check_descriptors, check_traces
from budkavle.doctor.open_e import check_open_e
from budkavle.doctor.secrets import check_gateway_secrets, check_setting_secrets, check_webhook_secrets
from budkavle.open_e import build_accounts
from budkavle.settings import PREFIX, Settings, SettingsUnusable, read_usable_settings
from budkavle.variables import find_unknown_variables
from domain.web_messages import OepInstance
from persistence.database import Database, DatabaseUnusable
from persistence.opening import open_database
from persistence.waits import Waits

DATABASE_SECONDS = 3.0
"""Timeout of each wait for the database."""

NEED_DATABASE = ("migrations", "clock", "queue", "messages", "audit", "receivers")


async def check_installation() -> list[Finding]:
    """Run all checks with the settings of this environment, and return their findings."""
    settings, faults = read_usable_settings()
    checks: dict[str, Check] = {"settings": partial(_check_settings, faults=faults)}
    async with AsyncExitStack() as stack:
        try:
            database = open_database(settings.database_url.get_secret_value(), _limit_waits(settings.build_waits()))
        except DatabaseUnusable as exc:
            checks |= {"database": partial(_report_database, error=exc), **dict.fromkeys(NEED_DATABASE, _skip)}
        else:
            stack.push_async_callback(database.close)
            checks |= _list_database_checks(settings, database)
        accounts = settings.build_accounts()
        checks |= {
            f"open-e {each}": partial(check_open_e, instance=each, account=accounts.get(each), now=now)
            for each in OepInstance
        }
        checks |= {
            "secrets": partial(_check_secrets, settings=settings),
            "certificates": partial(_check_certificates, settings=settings),
            "issuers": partial(check_issuers, settings=settings),
            "municipalities": partial(_check_municipalities, settings=settings),
            "machine": partial(_check_machine, settings=settings),
        }
        return await run_checks(checks)


def _limit_waits(waits: Waits) -> Waits:
    names = [each.name for each in fields(Waits) if each.name.endswith("timeout")]
    limited = {name: min(getattr(waits, name), DATABASE_SECONDS) for name in names}
    return replace(waits, grace=1, **limited | {"health_timeout": limited["connect_timeout"]})


def _list_database_checks(settings: Settings, database: Database) -> dict[str, Check]:
    checks = DatabaseChecks(settings, database, now)
    return {
        "database": checks.check_database,
        "migrations": checks.check_migrations,
        "clock": checks.check_clock,
        "queue": checks.check_queue,
        "messages": checks.check_messages,
        "audit": checks.check_audit,
        "receivers": partial(_check_receivers, checks=checks),
    }


async def _check_settings(findings: Findings, faults: Mapping[str, str]) -> None:
    for name, fault in faults.items():
        findings.add_problem(f"{PREFIX}{name.upper()}: {fault}", "correct it: programs do not start with it")
    for unknown in find_unknown_variables(name for name, value in os.environ.items() if value):
        if unknown.is_misspelt:
            findings.add_problem(f"{unknown.name} is not a setting", f"did you mean {unknown.similar}?")
        else:
            findings.add_warning(
                f"{unknown.name} is no setting of this version, and ignored",
                "remove it, unless it is for another version",
            )
    if not findings.found:
        findings.add_ok("all variables are valid")


async def _report_database(findings: Findings, error: DatabaseUnusable) -> None:
    findings.add_problem(str(error), "correct BUDKAVLE_DATABASE_URL")


async def _skip(_findings: Findings) -> None:
    raise CheckSkipped("the database cannot be used")


async def _check_secrets(findings: Findings, settings: Settings) -> None:
    await run_in_daemon_thread(check_setting_secrets, findings, settings)


async def _check_certificates(findings: Findings, settings: Settings) -> None:
    await run_in_daemon_thread(check_server_certificates, findings, settings, now())


async def _check_municipalities(findings: Findings, settings: Settings) -> None:
    try:
        accounts = await run_in_daemon_thread(build_accounts, settings)
    except SettingsUnusable as exc:
        findings.add_problem(str(exc).partition(": ")[2], "correct the file, see how-to/compatibility-apis.md")
        return
    own = [name for name in accounts if "/" in name]
    findings.add_ok(f"{len(own)} Open-Es of municipalities that have their own")


async def _check_receivers(findings: Findings, checks: DatabaseChecks) -> None:
    systems = (await checks.read_catalogue()).systems.values()

    def check_all() -> None:
        check_webhook_secrets(findings, systems)
        check_gateway_secrets(findings, systems)
        for system in systems:
            check_receiver_certificates(findings, system, now())

    await run_in_daemon_thread(check_all)


async def _check_machine(findings: Findings, settings: Settings) -> None:
    check_descriptors(findings, settings)
    check_traces(findings)
