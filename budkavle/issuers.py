"""The issuers of access tokens, from the file that `BUDKAVLE_ISSUERS` names, which is read again without a restart."""

import ssl
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from budkavle.reloading import CHECK_SECONDS, ReloadedFiles
from budkavle.settings import Settings, SettingsUnusable
from domain.errors import BudkavleError
from handlers.issuers import AcceptedIssuers

if TYPE_CHECKING:
    from oauth2.issuers import TrustedIssuers
    from oauth2.verification import TokenVerifier


_UNUSABLE = "unusable settings: BUDKAVLE_ISSUERS"


def read_trusted_issuers(settings: Settings) -> "TrustedIssuers | None":
    """Return the issuers in the file, None without the setting. Raises `SettingsUnusable` with all faults."""
    if settings.issuers is None:
        return None
    from budkavle.issuers_file import read_issuers

    try:
        trusted = read_issuers(settings.issuers)
    except BudkavleError as exc:
        raise SettingsUnusable(f"{_UNUSABLE}: {exc}") from None
    if not settings.trusted_proxies and any(issuer.header for issuer in trusted.issuers):
        raise SettingsUnusable(f"{_UNUSABLE}: `header` is accepted from BUDKAVLE_TRUSTED_PROXIES only, which is empty")
    return trusted


class Issuers(ReloadedFiles):
    """The accepted issuers. `accepted` is None without the setting.

    `tls` replaces the certificate authorities of the machine for the keys of issuers. Raises `SettingsUnusable`.
    """

    name = "issuers"

    def __init__(
        self,
        settings: Settings,
        now: Callable[[], datetime],
        check_seconds: float = CHECK_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__([] if settings.issuers is None else [settings.issuers], check_seconds)
        self._settings = settings
        self._now = now
        self._tls = tls
        self._verifier: TokenVerifier | None = None
        self.accepted: AcceptedIssuers | None = None
        self.load()

    def load(self) -> None:
        """Read the file, and use its issuers for the next requests. Raises `SettingsUnusable`."""
        trusted = read_trusted_issuers(self._settings)
        if trusted is None:
            return
        # A service without issuers does not load the libraries for signatures.
        from oauth2.verification import TokenVerifier

        try:
            if self._verifier is None:
                self._verifier = TokenVerifier(trusted.issuers, now=self._now, tls=self._tls)
            else:
                self._verifier.replace_issuers(trusted.issuers)
        except BudkavleError as exc:
            # A file of keys has changed since it was checked.
            raise SettingsUnusable(f"{_UNUSABLE}: {exc}") from None
        is_certificate_visible = self._settings.client_ca is not None or bool(self._settings.trusted_proxies)
        self.accepted = AcceptedIssuers(trusted, self._verifier, is_certificate_visible)

    def get_accepted(self) -> AcceptedIssuers | None:
        """Return the issuers whose tokens are accepted now."""
        return self.accepted

    def start_fetches(self) -> None:
        """Begin to fetch the keys of issuers. Call it in the event loop."""
        if self._verifier is not None:
            self._verifier.start()

    def stop_fetches(self) -> None:
        """End all fetches."""
        if self._verifier is not None:
            self._verifier.stop()
