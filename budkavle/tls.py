"""TLS on the service's own port: its certificate, and the CA whose client certificates are taken."""

import os
import ssl

from budkavle.settings import Settings, SettingsUnusable


def server_context(settings: Settings) -> ssl.SSLContext | None:
    """How the service speaks TLS, None when it speaks plain HTTP.

    With a CA, callers may show a certificate; one of another CA ends the handshake. Raises `SettingsUnusable`.
    """
    given = {name: getattr(settings, name) for name in ("tls_cert", "tls_key", "client_ca")}
    if not any(given.values()):
        return None
    missing = [name for name in ("tls_cert", "tls_key") if given[name] is None]
    if missing:
        names = [f"BUDKAVLE_{name.upper()}" for name in given if given[name] or name in missing]
        raise SettingsUnusable(f"unusable settings: {_last_and(names)} belong together")
    # The defaults of Python for servers, whatever the machine's own say of old versions.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without a password OpenSSL would ask whoever stands at the terminal.
        context.load_cert_chain(str(settings.tls_cert), str(settings.tls_key), password="")
    except (OSError, ValueError) as exc:
        names = ["BUDKAVLE_TLS_CERT", "BUDKAVLE_TLS_KEY"]
        raise SettingsUnusable(f"unusable settings: {_last_and(names)}: {_reason(exc)}") from None
    if settings.client_ca is not None:
        try:
            context.load_verify_locations(str(settings.client_ca))
        except (OSError, ValueError) as exc:
            raise SettingsUnusable(f"unusable settings: BUDKAVLE_CLIENT_CA: {_reason(exc)}") from None
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _last_and(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return _REASONS.get(error.reason or "", "no PEM that can be read, or one with a password")
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no PEM that can be read"


_REASONS = {"KEY_VALUES_MISMATCH": "the key is not the certificate's"}
