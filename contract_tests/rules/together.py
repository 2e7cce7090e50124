"""Run calls concurrently."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

Given = TypeVar("Given")
Answer = TypeVar("Answer")


def run_concurrently(call: Callable[[Given], Answer], given: Sequence[Given]) -> list[Answer]:
    """Run the call for each argument concurrently, and return the results in the order of the arguments."""
    barrier = Barrier(len(given))

    def begin(what: Given) -> Answer:
        barrier.wait()
        return call(what)

    with ThreadPoolExecutor(len(given)) as threads:
        return list(threads.map(begin, given))
