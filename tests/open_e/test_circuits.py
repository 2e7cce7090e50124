"""Pause calls to an Open-E that does not answer."""

import pytest

from domain.errors import CircuitOpen
from open_e.circuits import Circuit


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> Circuit:
    return Circuit(threshold=3, seconds=5, clock=clock)


def fail(circuit: Circuit, times: int) -> None:
    for _ in range(times):
        with circuit.enter():
            circuit.note_silence()


def is_refused(circuit: Circuit) -> bool:
    try:
        with circuit.enter():
            return False
    except CircuitOpen:
        return True


def test_circuit_opens_after_failures_in_a_row(circuit: Circuit) -> None:
    fail(circuit, 2)
    circuit.note_answer()
    fail(circuit, 2)
    assert not circuit.is_open
    assert not is_refused(circuit)
    fail(circuit, 1)
    assert circuit.is_open
    assert is_refused(circuit)


def test_one_probe_at_a_time_is_allowed(circuit: Circuit, clock: Clock) -> None:
    fail(circuit, 3)
    clock.time = 4.9
    assert is_refused(circuit)
    clock.time = 5
    circuit.check()
    with circuit.enter():
        assert is_refused(circuit)
        with pytest.raises(CircuitOpen):
            circuit.check()
        circuit.note_silence()
    assert is_refused(circuit)
    clock.time = 10
    with circuit.enter():
        circuit.note_answer()
        assert not is_refused(circuit)
    assert not circuit.is_open


def test_probe_that_made_no_call_allows_the_next_one(circuit: Circuit, clock: Clock) -> None:
    fail(circuit, 3)
    clock.time = 5
    with pytest.raises(RuntimeError), circuit.enter():
        raise RuntimeError
    assert not is_refused(circuit)
    assert circuit.is_open


def test_answer_to_an_earlier_call_closes_the_circuit(circuit: Circuit) -> None:
    fail(circuit, 3)
    circuit.note_answer()
    assert not is_refused(circuit)


def test_call_that_began_before_the_circuit_opened_does_not_end_the_probe(circuit: Circuit, clock: Clock) -> None:
    with circuit.enter():
        fail(circuit, 3)
        clock.time = 5
        probe = circuit.enter()
        probe.__enter__()
    assert is_refused(circuit)
    probe.__exit__(None, None, None)
    assert not is_refused(circuit)
