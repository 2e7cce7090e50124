"""The cases of the receiver check, by suite."""

from receiver_tests.cases.connections import CONNECTIONS
from receiver_tests.cases.deliveries import DELIVERIES
from receiver_tests.cases.repetitions import REPETITIONS
from receiver_tests.cases.signatures import SIGNATURES
from receiver_tests.trial import ReceiverCase

SUITES: dict[str, tuple[ReceiverCase, ...]] = {
    "deliveries": DELIVERIES,
    "repetitions": REPETITIONS,
    "signatures": SIGNATURES,
    "connections": CONNECTIONS,
}
