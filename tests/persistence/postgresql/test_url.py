"""The URL of a PostgreSQL accepts the options of libpq."""

from pathlib import Path

import pytest

from persistence.database import DatabaseUnusable
from persistence.postgresql.url import OPTIONS, Address, parse_url


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGAPPNAME", "PGTARGETSESSIONATTRS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("postgresql://a/db", [("a", 5432)]),
        ("postgres://a:6432/db", [("a", 6432)]),
        ("postgresql://u:p@a,b/db", [("a", 5432), ("b", 5432)]),
        ("postgresql://u@a:1,b:2/db", [("a", 1), ("b", 2)]),
        ("postgresql://a:1,b/db", [("a", 1), ("b", 5432)]),
        ("postgresql://[::1]:7,[2001:db8::1]/db", [("::1", 7), ("2001:db8::1", 5432)]),
        ("postgresql:///db?host=a,b&port=1,2", [("a", 1), ("b", 2)]),
        ("postgresql:///db?host=a,b&port=7", [("a", 7), ("b", 7)]),
        ("postgresql:///db?host=::1", [("::1", 5432)]),
        ("postgresql://a/db?port=9", [("a", 9)]),
        ("postgresql:///db?host=/run/pg", [("/run/pg", 5432)]),
        ("postgresql://%2Frun%2Fpg/db", [("/run/pg", 5432)]),
        ("postgresql://user:@/db?host=/run/pg", [("/run/pg", 5432)]),
    ],
)
def test_parse_url_reads_hosts(url: str, addresses: list[tuple[str, int]]) -> None:
    server = parse_url(url)
    assert list(server.addresses) == [Address(*address) for address in addresses]
    assert server.database == "db"


def test_parse_url_reads_hosts_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "a,b")
    monkeypatch.setenv("PGPORT", "1,2")
    assert parse_url("postgresql:///db").addresses == (Address("a", 1), Address("b", 2))
    assert parse_url("postgresql://c:3/db").addresses == (Address("c", 3),)


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("postgresql://host", (None, None, None)),
        ("postgresql://host/", (None, None, None)),
        ("postgresql://u%20%C3%A5:p%40%2F@host/d%20b", ("u å", "p@/", "d b")),
        ("postgresql://u:p@ss@host/db", ("u", "p@ss", "db")),
        ("postgresql://host?user=u&password=p%26&dbname=d", ("u", "p&", "d")),
        ("postgresql://:p@host/db", (None, "p", "db")),
        ("postgresql://host/db?password=a+b", (None, "a+b", "db")),
    ],
)
def test_parse_url_reads_the_login(url: str, login: tuple[str | None, ...]) -> None:
    server = parse_url(url)
    assert (server.user, server.password, server.database) == login


def test_parse_url_reads_options(tmp_path: Path) -> None:
    root = tmp_path / "root å.crt"
    root.touch()
    server = parse_url(
        f"postgresql://host/db?sslmode=verify-full&sslrootcert={root}&application_name=x&options=-c%20jit%3Doff"
        "&connect_timeout=3&target_session_attrs=read-write&keepalives_idle=7&pooler=transaction&passfile=/p"
    )
    assert server.driver_options == {"sslmode": "verify-full", "sslrootcert": str(root), "passfile": "/p"}
    assert server.settings == {"application_name": "x", "options": "-c jit=off"}
    assert (server.connect_timeout, server.target_session_attrs) == (3.0, "read-write")
    assert (server.keepalive, server.has_transaction_pooler) == ({"keepalives_idle": 7}, True)
    assert parse_url("postgresql://host/db?ssl=require").driver_options == {"sslmode": "require"}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("no_such_option=secret", "no_such_option is not a known option; accepted are "),
        ("sslmode=always", "sslmode must be one of disable, allow, prefer, require, verify-ca, verify-full"),
        ("sslrootcert=/no/such.crt", "sslrootcert names no readable file: /no/such.crt"),
        ("target_session_attrs=master", "target_session_attrs must be one of any, read-write"),
        ("gssencmode=require", "gssencmode must be one of disable, prefer"),
        ("channel_binding=require", "channel_binding must be one of disable, prefer"),
        ("connect_timeout=soon", "connect_timeout must be a whole number"),
        ("pooler=yes", "pooler must be one of transaction, session"),
        ("sslmode", "sslmode needs a value"),
        ("port=x", "port must be a number from 1 to 65535"),
        ("port=65536", "port must be a number from 1 to 65535"),
        ("host=a,b&port=1,2,3", "port must be one number, or one for each of the 2 hosts"),
        ("user=%ff", "must be UTF-8"),
    ],
)
def test_parse_url_names_the_option_and_the_accepted_values(query: str, message: str) -> None:
    with pytest.raises(DatabaseUnusable) as caught:
        parse_url(f"postgresql://user:secret@host/db?{query}")
    assert str(caught.value).startswith("BUDKAVLE_DATABASE_URL")
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_parse_url_treats_an_empty_value_as_the_default() -> None:
    query = "&".join(f"{name}=" for name in OPTIONS if name not in {"host", "port"})
    assert parse_url(f"postgresql://host/db?{query}") == parse_url("postgresql://host/db")
