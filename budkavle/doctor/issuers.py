"""Checks of the issuers of access tokens: their file, and the keys of each."""

import asyncio

from budkavle.doctor.findings import Findings
from budkavle.issuers import read_trusted_issuers
from budkavle.settings import Settings, SettingsUnusable


async def check_issuers(findings: Findings, settings: Settings) -> None:
    """Check the file of issuers, and fetch each JWK Set once."""
    try:
        trusted = read_trusted_issuers(settings)
    except SettingsUnusable as exc:
        findings.add_problem(str(exc).partition(": ")[2], "correct the file, see reference/issuers.md")
        return
    if trusted is None:
        findings.add_ok("no access tokens are accepted")
        return
    await asyncio.gather(*(_check_keys(findings, location) for location in {each.jwks for each in trusted.issuers}))


async def _check_keys(findings: Findings, location: str) -> None:
    from oauth2.remote_key_sets import FetchFailed, RemoteKeySet

    if location.startswith("file:"):
        # Reading the file of issuers has read it.
        findings.add_ok(f"{location} has usable keys")
        return
    try:
        keys = await RemoteKeySet(location).fetch_once()
    except FetchFailed as exc:
        findings.add_problem(
            f"the keys at {location} cannot be fetched: {exc}", "check the address, its certificate and the network"
        )
    else:
        findings.add_ok(f"{location} has {len(keys.keys)} usable keys")
