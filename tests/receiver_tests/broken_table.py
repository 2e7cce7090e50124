"""The table of broken receivers."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.receiver_tests.right_receiver import RightReceiver


@dataclass(frozen=True)
class Broken:
    """A broken receiver: the case of the check that finds it, and a part of the message."""

    receiver: type[RightReceiver]
    case: str
    words: str
    options: tuple[str, ...] = ()


class BrokenReceivers(dict[str, Broken]):
    """Broken receivers by description."""

    def add(
        self, name: str, case: str, words: str, *options: str
    ) -> Callable[[type[RightReceiver]], type[RightReceiver]]:
        """Return a decorator that adds a class."""
        assert name not in self

        def add(receiver: type[RightReceiver]) -> type[RightReceiver]:
            self[name] = Broken(receiver, case, words, options)
            return receiver

        return add
