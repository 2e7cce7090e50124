"""TLS on the service's own port: its certificate, and the CA of accepted client certificates.

Renewed files are reloaded without a restart.
"""

import os
import ssl

from budkavle.reloading import CHECK_SECONDS, ReloadedFiles
from budkavle.settings import Settings, SettingsUnusable


class ServerTls(ReloadedFiles):
    """The TLS configuration of the service. `context` is None for plain HTTP. Raises `SettingsUnusable`."""

    name = "tls"

    def __init__(self, settings: Settings, check_seconds: float = CHECK_SECONDS) -> None:
        paths = (settings.tls_cert, settings.tls_key, settings.client_ca)
        super().__init__([path for path in paths if path is not None], check_seconds)
        self._settings = settings
        self.load()
        self.context = self._current
        if self.context is not None:
            # Each handshake uses the latest context; the server itself keeps the first one.
            self.context.sni_callback = self._select

    def load(self) -> None:
        """Read the files for the next handshakes. Raises `SettingsUnusable`."""
        self._current = build_server_context(self._settings)

    def _select(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        if self._current is not None:
            connection.context = self._current


def build_server_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the TLS context of the service, or None for plain HTTP.

    With a CA, callers may present a certificate; a certificate of another CA aborts the handshake. Raises
    `SettingsUnusable`.
    """
    given = {name: getattr(settings, name) for name in ("tls_cert", "tls_key", "client_ca")}
    if not any(given.values()):
        return None
    missing = [name for name in ("tls_cert", "tls_key") if given[name] is None]
    if missing:
        names = [f"BUDKAVLE_{name.upper()}" for name in given if given[name] or name in missing]
        raise SettingsUnusable(f"unusable settings: {_join_names(names)} belong together")
    # Use Python's defaults for servers, even if the system's configuration permits older versions.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without a password, OpenSSL would prompt for one on the terminal.
        context.load_cert_chain(str(settings.tls_cert), str(settings.tls_key), password="")
    except (OSError, ValueError) as exc:
        names = ["BUDKAVLE_TLS_CERT", "BUDKAVLE_TLS_KEY"]
        raise SettingsUnusable(f"unusable settings: {_join_names(names)}: {_describe_error(exc)}") from None
    if settings.client_ca is not None:
        try:
            context.load_verify_locations(str(settings.client_ca))
        except (OSError, ValueError) as exc:
            raise SettingsUnusable(f"unusable settings: BUDKAVLE_CLIENT_CA: {_describe_error(exc)}") from None
        context.verify_mode = ssl.CERT_OPTIONAL
        # A resumed session would not present its certificate again, even after its CA was removed.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    return context


def _join_names(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _describe_error(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return _REASONS.get(error.reason or "", "no PEM that can be read, or one with a password")
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no PEM that can be read"


_REASONS = {"KEY_VALUES_MISMATCH": "the key is not the certificate's"}
