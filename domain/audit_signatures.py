"""Sign entries of the audit with a key of the service. `docs/reference/audit-hashes.md` specifies the signatures."""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domain.audit import ChainHead


@dataclass(frozen=True, slots=True)
class EntrySigner:
    """Signs entries with a key."""

    _key: bytes = field(repr=False)

    def sign(self, chain: str, hash_: str) -> str:
        """Return the signature of the entry with this hash in a chain: an HMAC-SHA256 in hexadecimal."""
        return hmac.digest(self._key, f"{chain}\n{hash_}".encode(), "sha256").hex()


@dataclass(frozen=True, slots=True)
class Signing:
    """From when on entries are signed: after these ends of chains."""

    chains: Mapping[str, ChainHead]

    def needs_signature(self, chain: str, number: int) -> bool:
        """Return whether an entry was appended since then."""
        head = self.chains.get(chain)
        return head is None or number > head.length

    def describe(self) -> dict[str, Any]:
        """Return the detail of the entry that states it."""
        return {"chains": {name: [head.length, head.hash] for name, head in sorted(self.chains.items())}}


def parse_signing(detail: Mapping[str, Any]) -> Signing:
    """Return what an entry states. Raises `AttributeError`, `KeyError`, `TypeError` or `ValueError`."""
    return Signing({name: ChainHead(hash_, length) for name, (length, hash_) in detail["chains"].items()})


def is_signed(signers: Sequence[EntrySigner], chain: str, hash_: str, signature: str | None) -> bool:
    """Return whether the signature of an entry is that of one of the signers."""
    return signature is not None and any(
        hmac.compare_digest(signer.sign(chain, hash_), str(signature)) for signer in signers
    )
