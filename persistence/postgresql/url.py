"""Parse PostgreSQL URLs as libpq does, as far as asyncpg supports their options.

asyncpg applies one timeout to all hosts and sends unknown options to the server, and SQLAlchemy rejects several hosts
without ports. Therefore the URL is parsed here, and each attempt to connect uses one host.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from persistence.database import DatabaseUnusable

_TLS_FILES = ("sslcert", "sslkey", "sslrootcert", "sslcrl")
_TLS_OPTIONS = (
    *_TLS_FILES,
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
)
_DRIVER_OPTIONS = ("passfile", "service", "krbsrvname", "gsslib")
"""Options that asyncpg handles as libpq does."""

_CHOICES: dict[str, tuple[str, ...]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "load_balance_hosts": ("disable", "random"),
    "keepalives": ("0", "1"),
    "client_encoding": ("utf8", "UTF8", "auto"),
    # asyncpg supports only TLS for encryption and has no channel binding: values that require another method are
    # rejected.
    "gssencmode": ("disable", "prefer"),
    "channel_binding": ("disable", "prefer"),
    "sslcompression": ("0",),
    "pooler": ("transaction", "session"),
}
_NUMBERS = (
    "connect_timeout",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
)
_NAMES = ("host", "port", "dbname", "user", "password")
_SETTINGS = ("application_name", "fallback_application_name", "options")
OPTIONS = tuple(sorted({*_NAMES, *_TLS_OPTIONS, *_DRIVER_OPTIONS, *_CHOICES, *_NUMBERS, *_SETTINGS}))
"""All options accepted after the `?` of a URL."""

_ALIASES = {"ssl": "sslmode", "database": "dbname"}
_UNIX_DIRECTORIES = ("/run/postgresql", "/var/run/postgresql", "/tmp")  # noqa: S108  # libpq's places for sockets.
DEFAULT_PORT = 5432
APPLICATION_NAME = "budkavle"


@dataclass(frozen=True, slots=True)
class Address:
    """One host of a URL: a name, an IP address, or the directory of a Unix socket."""

    host: str
    port: int

    def __str__(self) -> str:
        if self.host.startswith("/"):
            return f"{self.host}/.s.PGSQL.{self.port}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Server:
    """The servers in a URL and the options to connect to them. `None` selects the driver's default."""

    addresses: tuple[Address, ...]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    driver_options: Mapping[str, str] = field(default_factory=dict, repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)
    target_session_attrs: str = "any"
    is_balanced: bool = False
    """Whether hosts are tried in random order, to spread the connections."""
    connect_timeout: float | None = None
    keepalive: Mapping[str, int] = field(default_factory=dict)
    pooler: str | None = None
    """The mode of a connection pooler in front of the servers: `transaction` or `session`, configured or detected."""

    @property
    def has_transaction_pooler(self) -> bool:
        """Whether consecutive transactions may run in different sessions."""
        return self.pooler == "transaction"

    def __str__(self) -> str:
        return ", ".join(map(str, self.addresses))


def parse_url(url: str) -> Server:
    """Return the servers in a `postgresql://` URL. Raises `DatabaseUnusable`, without values that may be secret."""
    rest, _, query = url.partition("://")[2].partition("?")
    authority, _, path = rest.partition("/")
    login, at, hosts = authority.rpartition("@")
    user, _, password = login.partition(":") if at else ("", "", "")
    options = _parse_query(query)
    get_option = options.get
    names, ports = _parse_hosts(hosts, get_option("host", ""), get_option("port", ""))
    target = get_option("target_session_attrs") or os.environ.get("PGTARGETSESSIONATTRS") or "any"
    if target not in _CHOICES["target_session_attrs"]:
        raise _build_option_error(
            "PGTARGETSESSIONATTRS", f"must be one of {', '.join(_CHOICES['target_session_attrs'])}"
        )
    name = get_option("application_name") or os.environ.get("PGAPPNAME") or get_option("fallback_application_name")
    settings = {"application_name": name or APPLICATION_NAME}
    if get_option("options"):
        settings["options"] = options["options"]
    _check_files(options)
    return Server(
        addresses=tuple(map(Address, names, ports)),
        user=get_option("user") or _decode(user) or None,
        password=get_option("password") or _decode(password) or None,
        database=get_option("dbname") or _decode(path) or None,
        driver_options={name: options[name] for name in (*_TLS_OPTIONS, *_DRIVER_OPTIONS) if get_option(name)},
        settings=settings,
        target_session_attrs=target,
        is_balanced=get_option("load_balance_hosts") == "random",
        # In libpq, 0 means no timeout. Here every wait has one, so 0 selects the default.
        connect_timeout=float(get_option("connect_timeout") or 0) or None,
        keepalive={name: int(options[name]) for name in ("keepalives", *_NUMBERS[1:]) if get_option(name)},
        pooler=get_option("pooler") or None,
    )


def mask_password(url: str) -> str:
    """Return a URL without its passwords. Raises `DatabaseUnusable` if it is not certain what they are."""
    parse_url(url)
    scheme, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    login, at, hosts = authority.rpartition("@")
    user, colon, _ = login.partition(":")
    if "@" in path or "@" in query:
        # A password that is not percent-encoded ends the authority early.
        raise DatabaseUnusable("BUDKAVLE_DATABASE_URL must have a percent-encoded password")
    options = [
        pair if pair.partition("=")[0] in _NOT_SECRET else f"{pair.partition('=')[0]}={MASK}"
        for pair in query.split("&")
    ]
    place = f"{scheme}://{user}{colon and f':{MASK}'}{at}{hosts}" + (f"/{path}" if path else "")
    return f"{place}?{'&'.join(options)}" if query else place


MASK = "********"
_NOT_SECRET = {*OPTIONS, *_ALIASES} - {"password", "sslpassword"}


def _parse_query(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        written, equals, value = pair.partition("=")
        name = _ALIASES.get(_decode(written), _decode(written))
        if name not in OPTIONS:
            raise _build_option_error(name, f"is not a known option; accepted are {', '.join(OPTIONS)}")
        if not equals:
            raise _build_option_error(name, "needs a value, as in name=value")
        options[name] = _decode(value)
    for name, choices in _CHOICES.items():
        if (options.get(name) or choices[0]) not in choices:
            raise _build_option_error(name, f"must be one of {', '.join(choices)}")
    for name in _NUMBERS:
        if not (options.get(name) or "0").isdecimal():
            raise _build_option_error(name, "must be a whole number")
    return options


def _parse_hosts(authority: str, host_option: str, port_option: str) -> tuple[list[str], list[int]]:
    """Return host names and their ports, in equal numbers."""
    names: list[str] = []
    ports: list[str] = []
    for written in filter(None, (host_option or authority or os.environ.get("PGHOST", "")).split(",")):
        name, port = _split_port(written, has_port=not host_option)
        names.append(_decode(name))
        ports.append(port)
    common = port_option or os.environ.get("PGPORT", "")
    if not names:
        # As in libpq: the first existing socket directory, otherwise TCP on this machine.
        found = [place for place in _UNIX_DIRECTORIES if Path(f"{place}/.s.PGSQL.{common or DEFAULT_PORT}").exists()]
        names, ports = [*found[:1], *([] if found else ["localhost"])], [""]
    defaults = common.split(",") if common else [str(DEFAULT_PORT)]
    if len(defaults) == 1 or all(ports):
        # One port for all hosts, or each host has its own.
        defaults = defaults[:1] * len(names)
    if len(defaults) != len(names):
        raise _build_option_error("port", f"must be one number, or one for each of the {len(names)} hosts")
    return names, [_to_port(port or default) for port, default in zip(ports, defaults, strict=True)]


def _split_port(written: str, *, has_port: bool) -> tuple[str, str]:
    if written.startswith("["):
        name, bracket, port = written[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise _build_option_error("host", "must have an IPv6 address in brackets, as in [::1]:5432")
        return name, port[1:]
    if not has_port or written.startswith("/"):
        return written, ""
    name, _, port = written.partition(":")
    return name, port


def _to_port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise _build_option_error("port", "must be a number from 1 to 65535")
    return int(text)


def _check_files(options: Mapping[str, str]) -> None:
    """Report unreadable files now instead of at the first connection."""
    for name in _TLS_FILES:
        path = options.get(name)
        if path and not Path(path).is_file():
            raise _build_option_error(name, f"names no readable file: {path}")


def _decode(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise DatabaseUnusable("BUDKAVLE_DATABASE_URL must be UTF-8 in percent-encoding") from None


def _build_option_error(name: str, rule: str) -> DatabaseUnusable:
    return DatabaseUnusable(f"BUDKAVLE_DATABASE_URL: {name} {rule}")
