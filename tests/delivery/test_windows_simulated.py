"""Fair delivery in a simulation: many systems with many paths, some of them failing."""

from collections.abc import Iterable

import pytest

from delivery.windows import FIRST, Windows
from domain.deliveries import Target
from tests.delivery.simulated_queue import Receiver, Simulation

SECONDS = 70.0
ANSWER_SECONDS = 0.02
SYSTEMS = 6
ATTEMPT_TIMEOUT = 15.0


def answers(_: float) -> tuple[float, bool]:
    return ANSWER_SECONDS, True


def hangs(_: float) -> tuple[float, bool]:
    return ATTEMPT_TIMEOUT, False


def refuses(_: float) -> tuple[float, bool]:
    return 0.001, False


def is_slow(_: float) -> tuple[float, bool]:
    return 4.0, True


def dies(now: float) -> tuple[float, bool]:
    """Respond for half a minute, then hang."""
    return answers(now) if now < 30 else hangs(now)


SICK: dict[str, Receiver] = {"hangs": hangs, "refuses": refuses, "slow": is_slow, "dies": dies}


def build_healthy_target(system: int) -> Target:
    return Target(f"system-{system:02}", "/ok")


def build_sick_target(system: int, name: str, place: int = 0) -> Target:
    return Target(f"system-{system:02}", f"/{name}/{place}")


def publish_healthy(simulation: Simulation, systems: Iterable[int], per_second: float = 5) -> None:
    """Publish events of healthy targets, for ten keys each."""
    for system in systems:
        for number in range(int((SECONDS - 10) * per_second)):
            at = 1 + number / per_second + system * 0.007
            simulation.publish(build_healthy_target(system), system, str(number % 10), at)


def publish_sick(simulation: Simulation, target: Target, subscription: int, waiting: int = 200) -> None:
    """Publish events that wait from the beginning, and some more, each with its own key."""
    for number in range(waiting):
        simulation.publish(target, subscription, str(number), 0)
    for number in range(50):
        simulation.publish(target, subscription, f"later-{number}", 1 + number)


def simulate_one_system(system: int) -> Simulation:
    simulation = Simulation({build_healthy_target(system): answers})
    publish_healthy(simulation, [system])
    simulation.run(SECONDS)
    return simulation


def compute_p95(values: list[float]) -> float:
    return values[int(len(values) * 0.95)]


def simulate_mixed_paths() -> Simulation:
    """Return systems with one healthy path and several failing ones each."""
    receivers: dict[Target, Receiver] = {build_healthy_target(system): answers for system in range(SYSTEMS)}
    for system in range(SYSTEMS):
        receivers |= {build_sick_target(system, name): receiver for name, receiver in SICK.items()}
    simulation = Simulation(receivers)
    for place, (target, receiver) in enumerate(receivers.items()):
        if receiver is not answers:
            publish_sick(simulation, target, 1000 + place)
    publish_healthy(simulation, range(SYSTEMS))
    simulation.run(SECONDS)
    return simulation


@pytest.fixture(scope="module")
def simulated() -> Simulation:
    return simulate_mixed_paths()


def test_healthy_targets_are_as_fast_as_alone(simulated: Simulation) -> None:
    for system in range(SYSTEMS):
        expected = simulate_one_system(system).list_latencies(build_healthy_target(system))
        found = simulated.list_latencies(build_healthy_target(system))
        assert len(found) == len(expected)
        assert compute_p95(found) <= 1.5 * compute_p95(expected)
        # The first ones compete with targets that are still unknown.
        assert found[-1] <= 0.5


def test_failing_targets_respect_their_limits(simulated: Simulation) -> None:
    for system in range(SYSTEMS):
        for name in ("hangs", "refuses", "slow"):
            assert simulated.most_under_way[build_sick_target(system, name)] <= FIRST
    assert simulated.most <= 200
    # A dead target is called rarely, but always again.
    for system in range(SYSTEMS):
        attempts = [d.attempts for d in simulated.deliveries if d.target == build_sick_target(system, "refuses")]
        assert 8 <= sum(attempts) <= 40


def test_slow_targets_continue(simulated: Simulation) -> None:
    for system in range(SYSTEMS):
        # At least one call at a time.
        assert len(simulated.list_latencies(build_sick_target(system, "slow"))) >= SECONDS / 4 * 0.9


def test_order_per_key_is_kept_and_no_delivery_is_lost(simulated: Simulation) -> None:
    for numbers in simulated.arrivals.values():
        assert numbers == sorted(numbers)
    for system in range(SYSTEMS):
        assert simulated.count_waiting(build_healthy_target(system)) == 0
        for name in SICK:
            target = build_sick_target(system, name)
            assert simulated.count_waiting(target) + len(simulated.list_latencies(target)) == 250


def test_hanging_paths_of_a_system_leave_slots_for_healthy_ones() -> None:
    receivers: dict[Target, Receiver] = {build_healthy_target(0): answers, build_healthy_target(1): answers}
    receivers |= {build_sick_target(0, "hangs", place): hangs for place in range(120)}
    simulation = Simulation(receivers)
    publish_healthy(simulation, range(2))
    for place in range(120):
        # The healthy target has proven itself by now.
        for number in range(20):
            simulation.publish(build_sick_target(0, "hangs", place), 1000 + place, str(number), 5)
    simulation.run(SECONDS)
    for system in range(2):
        assert compute_p95(simulation.list_latencies(build_healthy_target(system))) <= 1.5 * compute_p95(
            simulate_one_system(system).list_latencies(build_healthy_target(system))
        )
        assert simulation.count_waiting(build_healthy_target(system)) == 0


def test_slots_are_used_while_healthy_targets_have_deliveries() -> None:
    targets = [Target(f"system-{system}", f"/{path}") for system in range(4) for path in range(3)]
    simulation = Simulation(dict.fromkeys(targets, lambda _: (0.5, True)))
    for place, target in enumerate(targets):
        for number in range(3000):
            simulation.publish(target, place, str(number), 0)
    simulation.run(20)
    assert simulation.under_way.total() >= 0.8 * 200
    # No target gets much more than others.
    arrived = [len(simulation.list_latencies(target)) for target in targets]
    assert min(arrived) >= 0.7 * max(arrived)


def test_single_active_target_uses_most_slots_of_its_system() -> None:
    target = Target("system", "/")
    simulation = Simulation({target: lambda _: (0.5, True)})
    for number in range(5000):
        simulation.publish(target, 1, str(number), 0)
    simulation.run(20)
    assert simulation.most_under_way[target] >= 70


def test_subscriptions_of_one_target_and_keys_share_its_calls() -> None:
    target = Target("system", "/")
    simulation = Simulation({target: lambda _: (2.0, True)}, Windows(4, 2))
    for number in range(500):
        simulation.publish(target, 1, "busy" if number < 250 else str(number), 0)
    for number in range(20):
        simulation.publish(target, 2, str(number), 10)
    simulation.run(80)
    # The second subscription gets every other call as soon as it has deliveries.
    arrived = [d.arrived for d in simulation.deliveries if d.subscription == 2 and d.arrived is not None]
    assert len(arrived) >= 15
    # A key with many deliveries does not delay the other keys of its subscription.
    keys = {key for (subscription, key) in simulation.arrivals if subscription == 1}
    assert len(keys) >= 10
