"""What Open-E silently swallows: strict mode refuses it, else the journal notes it."""

from open_e.mock.reading import Operation
from open_e.mock.request import Request
from open_e.mock.soap import SoapFault


def swallowed(operation: Operation, charset: str | None) -> tuple[str, ...]:
    """Each thing in a request that Open-E takes for something else without a word, as a sentence."""
    del operation, charset
    return ()


def unknown_senders(request: Request) -> tuple[str, ...]:
    """What is wrong with the sender of a request, as sentences."""
    del request
    return ()


def refuse_strictly(faults: tuple[str, ...]) -> None:
    """Raises SoapFault if there is anything to refuse."""
    if faults:
        raise SoapFault(
            f"Refused in strict mode: {' '.join(faults)}",
            code="Client",
            received=" ".join(faults),
            accepted="a request that fits the schema and says nothing that Open-E would silently swallow",
        )
