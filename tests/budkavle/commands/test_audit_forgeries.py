"""An insider forges the audit and computes all hashes again: `verify` alone accepts it, seals detect it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from domain.audit import CATALOGUE, NO_SYSTEM, SEALS
from tests.budkavle.commands.audit_insider import Row, rewrite_audit
from tests.budkavle.commands.test_audit_seals import Seals
from tests.budkavle.conftest import Invoke
from tests.budkavle.queues import subscribe
from tests.catalogues import SYSTEM_ID

Rewrite = Callable[[list[Row]], list[Row]]


@pytest.fixture
def sealed(database_url: str, invoke: Invoke, tmp_path: Path) -> Seals:
    """Return a database with three seals, and entries between them."""
    subscribe(database_url)
    seals = Seals(database_url, invoke, tmp_path)
    for number in range(3):
        for chain in (NO_SYSTEM, SYSTEM_ID):
            seals.record(chain=chain, request_id=f"r-{number}", detail={})
        assert seals.seal().startswith(f"ok: seal {number + 1} of ")
    assert seals.verify().startswith("ok: seals 1 to 3")
    return seals


def _is_of(row: Row, chain: str, request_id: str) -> bool:
    return (row.entry.chain, row.entry.request_id) == (chain, request_id)


def change_rows(chain: str, request_id: str, change: Callable[[Row], Row]) -> Rewrite:
    return lambda rows: [change(row) if _is_of(row, chain, request_id) else row for row in rows]


def remove_rows(*removed: tuple[str, str]) -> Rewrite:
    return lambda rows: [row for row in rows if (row.entry.chain, row.entry.request_id) not in removed]


def remove_chain(name: str) -> Rewrite:
    return lambda rows: [row for row in rows if row.entry.chain != name]


def swap(rows: list[Row]) -> list[Row]:
    first, second = (next(row for row in rows if _is_of(row, NO_SYSTEM, name)) for name in ("r-0", "r-1"))
    return [second if row is first else first if row is second else row for row in rows]


def invent_entry(rows: list[Row]) -> list[Row]:
    """Add an entry after those of the first seal."""
    place = next(place for place, row in enumerate(rows) if _is_of(row, NO_SYSTEM, "r-1"))
    return [*rows[:place], rows[place].change(caller="sha256:aa", outcome="refused"), *rows[place:]]


def replace_last(rows: list[Row]) -> list[Row]:
    return change_rows(NO_SYSTEM, "r-2", lambda row: row.change(caller="somebody else"))(rows)


FORGERIES: dict[str, tuple[Rewrite, str]] = {
    "changed entry": (
        change_rows(SYSTEM_ID, "r-0", lambda row: row.change(outcome="refused")),
        f"entry 3 of '{SYSTEM_ID}': its hash is not the sealed one",
    ),
    "changed time": (
        change_rows(NO_SYSTEM, "r-1", lambda row: row.delay(1)),
        "entry 2 of '-': its hash is not the sealed one",
    ),
    "invented last entry": (replace_last, "entry 3 of '-': its hash is not the sealed one"),
    "invented entry": (invent_entry, "entry 2 of '-': its hash is not the sealed one"),
    "swapped entries": (swap, "entry 1 of '-': its hash is not the sealed one"),
    "truncated chain": (
        remove_rows((NO_SYSTEM, "r-2"), (NO_SYSTEM, "r-1")),
        "entry 2 of '-': it was sealed and is missing",
    ),
    "removed entry": (remove_rows((SYSTEM_ID, "r-1")), f"entry 4 of '{SYSTEM_ID}': its hash is not the sealed one"),
    "entry moved to another chain": (
        change_rows(NO_SYSTEM, "r-0", lambda row: row.change(chain=SYSTEM_ID)),
        "entry 1 of '-': its hash is not the sealed one",
    ),
    "removed chain": (remove_chain(NO_SYSTEM), "entry 1 of '-': it was sealed and is missing"),
    "removed record of seals": (remove_chain(SEALS), "entry 1 of 'seals': it was sealed and is missing"),
    "recomputed catalogue": (
        lambda rows: [row.change(caller="x") if row.entry.chain == CATALOGUE else row for row in rows],
        "entry 2 of 'catalogue': its hash is not the sealed one",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_seals_detect_what_verify_alone_accepts(sealed: Seals, name: str) -> None:
    forge, reason = FORGERIES[name]
    rewrite_audit(sealed.url, forge)
    assert sealed.verify_without().startswith("ok: ")
    assert re.escape(reason) in re.escape(sealed.verify())
    # The next seal does not cover it up.
    assert sealed.seal().startswith("Error: ")


def test_audit_that_an_insider_left_alone_passes(sealed: Seals) -> None:
    rewrite_audit(sealed.url, lambda rows: rows)
    assert sealed.verify().startswith("ok: seals 1 to 3")


def test_truncated_file_of_seals_is_detected(sealed: Seals) -> None:
    """Without its last seal, the file does not cover the entries after it."""
    rewrite_audit(sealed.url, replace_last)
    sealed.file.write_text("".join(sealed.lines[:-1]))
    assert sealed.verify() == "Error: seal 3, which the audit has recorded, is missing or differs"


def test_replayed_file_of_seals_is_detected_by_its_age(sealed: Seals) -> None:
    """The insider removes the later record of seals too, so only the age of the last seal shows it."""
    last = [(row_chain, "r-2") for row_chain in (NO_SYSTEM, SYSTEM_ID)]

    def forget(rows: list[Row]) -> list[Row]:
        kept = remove_rows(*last)(rows)
        return [row for row in kept if row.entry.chain != SEALS or '"number":3' not in row.detail]

    rewrite_audit(sealed.url, forget)
    old = sealed.folder / "old.jsonl"
    old.write_text("".join(sealed.lines[:-1]))
    assert sealed.verify(file=old).startswith("ok: seals 1 to 2")
    assert "is too old" in sealed.verify("--max-age", "0", file=old)
    # The file that was kept elsewhere shows it in any case.
    assert "it was sealed and is missing" in sealed.verify()


def test_seals_of_another_key_are_refused(sealed: Seals) -> None:
    """An insider who seals a forged audit lacks the operator's key."""
    rewrite_audit(sealed.url, remove_chain(SEALS))
    rewrite_audit(sealed.url, swap)
    key = sealed.folder / "insider.key"
    sealed.create_key(key, sealed.folder / "insider.pub")
    forged = sealed.folder / "forged.jsonl"
    assert sealed.seal(key=key, file=forged).startswith("ok: seal 1 of ")
    assert "is not among the given public keys" in sealed.verify(file=forged)
