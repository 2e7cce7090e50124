"""The keys that sign entries of the audit, from `BUDKAVLE_AUDIT_KEY`."""

from budkavle.settings import Settings, SettingsUnusable
from domain.audit_signatures import EntrySigner
from persistence.database import Database
from persistence.opening import open_database

_UNUSABLE = "unusable settings: BUDKAVLE_AUDIT_KEY"


def read_signers(settings: Settings) -> tuple[EntrySigner, ...]:
    """Return a signer for each key, the newest first, or none. Raises `SettingsUnusable`."""
    if not settings.audit_key:
        return ()
    # Most installations have no key, and commands should start quickly.
    from delivery.references import ReceiverMisconfigured, read_signing_key

    try:
        return tuple(EntrySigner(read_signing_key(reference)) for reference in settings.audit_key)
    except ReceiverMisconfigured as exc:
        raise SettingsUnusable(f"{_UNUSABLE}: {exc}") from None


def open_configured_database(settings: Settings) -> Database:
    """Return the database of the settings, which signs entries with the first key. Raises `SettingsUnusable`."""
    signers = read_signers(settings)
    url = settings.database_url.get_secret_value()
    return open_database(url, settings.build_waits(), signers[0] if signers else None)


async def check_audit_keys(database: Database, settings: Settings) -> None:
    """Check that the audit is not signed, or with one of the keys in the settings. Raises `SettingsUnusable`."""
    from persistence import audit_signatures

    signers = read_signers(settings)
    is_signed, signing = await audit_signatures.find_signing(database, signers)
    if is_signed and signing is None:
        what = "has none of its keys" if signers else "is missing"
        raise SettingsUnusable(f"{_UNUSABLE} {what}, and the entries of the audit are signed")
