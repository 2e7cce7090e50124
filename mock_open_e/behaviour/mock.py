"""The mock Open-E with both instances: their data, the received messages, and the ordered faults."""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

from mock_open_e.behaviour import callback, messageapi
from mock_open_e.behaviour.conditions import Conditions
from mock_open_e.behaviour.journal import Entry, Findings, Journal, MockResponse, ReceivedCall, Refusal
from mock_open_e.behaviour.options import check_options
from mock_open_e.behaviour.orders import INSTANCES, FaultName, Instance, Order, OrderedFault, Orders
from mock_open_e.behaviour.planting import plant
from mock_open_e.behaviour.request import Request
from mock_open_e.behaviour.scenario import Account, DeclaredCase, Scenario
from mock_open_e.behaviour.soap import contract
from mock_open_e.behaviour.state import Case, Event, Files, Kind, Limits, Message, MessageJson, State


def _now() -> datetime:
    return datetime.now(UTC)


class MockOpenE:
    """Both Open-E instances with their data, received messages and ordered faults. Thread-safe.

    `cases` are the numbers of existing cases in both instances; None makes every positive number a case. With a
    `username`, every call must authenticate with it and the password by HTTP Basic. A `scenario` contains these options
    and more; options given in addition take precedence. `conditions` are those of both instances. `clock` returns aware
    times.
    """

    def __init__(
        self,
        *,
        cases: Collection[int] | int | None = None,
        username: str | None = None,
        password: str | None = None,
        scenario: Scenario | None = None,
        strict: bool | None = None,
        conditions: Conditions | None = None,
        limits: Limits | None = None,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        """Raise TypeError with a line for each option of the wrong type or value."""
        check_options(
            cases=cases,
            username=username,
            password=password,
            scenario=scenario,
            strict=strict,
            conditions=conditions,
            limits=limits,
        )
        scenario = scenario or Scenario()
        if cases is not None:
            numbers = (cases,) if isinstance(cases, int) else cases
            scenario = replace(scenario, cases=tuple(DeclaredCase(number) for number in numbers))
        if username is not None:
            scenario = replace(scenario, accounts=(Account(username, password or ""),))
        if strict is not None:
            scenario = replace(scenario, strict=strict)
        if conditions is not None:
            scenario = replace(scenario, external=conditions, internal=conditions)
        self._scenario = scenario
        self._limits = limits or Limits()
        self._clock = clock
        self._lock = threading.Lock()
        self._watchers: list[Callable[[], None]] = []
        self._initialise()

    def _initialise(self) -> None:
        sequence = count()
        self._states = {name: State(name, self._scenario, self._limits, sequence) for name in INSTANCES}
        self._orders = Orders(self._scenario.faults)
        self._files = Files(self._limits.file_bytes)
        self._journal = Journal(self._limits)

    @property
    def scenario(self) -> Scenario:
        """The initial scenario."""
        return self._scenario

    @property
    def messages(self) -> list[MessageJson]:
        """The messages to citizens or in their name, oldest first, in the format of the control API.

        `list_messages` returns more fields and the other kinds.
        """
        return [
            message.as_dict()
            for message in self.list_messages()
            if message.kind != "internal" and message.origin != "planted"
        ]

    def list_messages(
        self, *, instance: Instance | None = None, case: int | None = None, kind: Kind | None = None
    ) -> list[Message]:
        """Return the stored messages of all kinds, oldest first, optionally of one instance, case or kind."""
        with self._lock:
            found = [message for each in self._list_states(instance) for message in each.messages]
        matching = [each for each in found if case in {None, each.case} and kind in {None, each.kind}]
        return sorted(matching, key=lambda message: message.sequence)

    def list_events(self, *, instance: Instance | None = None, case: int | None = None) -> list[Event]:
        """Return the history of cases, oldest first within each instance."""
        with self._lock:
            return [
                event for each in self._list_states(instance) for event in each.events if case in {None, event.case}
            ]

    def list_cases(self, *, instance: Instance | None = None) -> list[Case]:
        """Return the declared cases and those with data, by instance and number."""
        with self._lock:
            return [case for each in self._list_states(instance) for case in each.list_cases()]

    def list_calls(self) -> list[Entry]:
        """Return the journal: the newest calls, oldest first."""
        with self._lock:
            return self._journal.list_entries()

    def list_faults(self) -> list[Order]:
        """Return the ordered faults that are still pending."""
        return [pending.order for pending in self.list_ordered_faults()]

    def list_ordered_faults(self) -> list[OrderedFault]:
        """Return the pending orders with their numbers."""
        with self._lock:
            return self._orders.list_remaining()

    def file(self, sha256: str) -> bytes | None:
        """Return the bytes of a file of a message or rejected call, or None if they are no longer stored."""
        with self._lock:
            return self._files.get(sha256)

    def fail(
        self,
        fault: FaultName,
        *,
        times: int | None = 1,
        seconds: float = 1.0,
        every: int = 1,
        operation: str | None = None,
        case: int | None = None,
        instance: Instance | None = None,
    ) -> int:
        """Order a fault for the next `times` calls that would otherwise be accepted (None: for all).

        With `every`, only each nth of these calls fails. `operation`, `case` and `instance` restrict the calls that
        count. Orders are executed one after the other. The faults in `STORING` occur after the work: the message is
        stored and only the response is lost or damaged. Returns the number of the order for `remove_fault`. Raises
        ValueError for an invalid order.
        """
        order = Order(fault, times, seconds, every, operation, case, instance)
        with self._lock:
            number = self._orders.add(order)
        self._notify_watchers()
        return number

    def remove_fault(self, number: int) -> None:
        """Delete one ordered fault. Raises LookupError if it is not pending."""
        with self._lock:
            self._orders.remove(number)
        self._notify_watchers()

    def conditions(self, instance: Instance) -> Conditions:
        """Return the present conditions of an instance."""
        with self._lock:
            return self._states[instance].conditions

    def set_conditions(self, conditions: Conditions, *, instance: Instance | None = None) -> None:
        """Replace the conditions of an instance, or with None of both. Stored messages are shown accordingly."""
        with self._lock:
            for state in self._list_states(instance):
                state.conditions = conditions
        self._notify_watchers()

    def plant(
        self,
        case: int,
        text: str,
        *,
        instance: Instance = "external",
        user_id: str | None = None,
        files: Sequence[tuple[str, bytes]] = (),
        added: str | None = None,
        kind: Kind = "owner",
    ) -> Message:
        """Add a message to a case as if the citizen had written it, to be read through the messageapi.

        With the kind `manager` another member of staff has written it, or another client of Open-E. `user_id` is its
        sender, `added` its time as an xs:dateTime; `files` are pairs of name and bytes.

        Raises LookupError for an unknown case and ValueError if `added` is not an xs:dateTime.
        """
        with self._lock:
            state = self._states[instance]
            message = plant(state, self._scenario, self._files, self._clock(), case, text, user_id, files, added, kind)
        self._notify_watchers()
        return message

    def clear(self) -> None:
        """Delete messages, events and ordered faults. Numbers continue, and cases keep their state."""
        self.clear_messages()
        self.clear_faults()

    def clear_messages(self) -> None:
        """Delete only messages and events."""
        with self._lock:
            for state in self._states.values():
                state.clear()
        self._notify_watchers()

    def clear_faults(self) -> None:
        """Delete only the ordered faults."""
        with self._lock:
            self._orders.clear()
        self._notify_watchers()

    def clear_calls(self) -> None:
        """Delete only the journal."""
        with self._lock:
            self._journal.clear()
        self._notify_watchers()

    def reset(self) -> None:
        """Restore the initial state of the scenario: cases, numbers and faults, without messages, calls and files."""
        with self._lock:
            self._initialise()
        self._notify_watchers()

    def watch(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after each change, in the thread that makes it. Return a function that stops this."""
        with self._lock:
            self._watchers.append(callback)

        def stop() -> None:
            with self._lock:
                self._watchers.remove(callback)

        return stop

    def _notify_watchers(self) -> None:
        with self._lock:
            watchers = list(self._watchers)
        for callback_ in watchers:
            callback_()

    def _list_states(self, instance: Instance | None) -> list[State]:
        return [state for name, state in self._states.items() if instance in {None, name}]

    def respond(
        self,
        instance: Instance,
        headers: Mapping[str, str],
        body: bytes | bytearray = b"",
        *,
        method: str = "POST",
        query: str = "",
        url: str | None = None,
    ) -> MockResponse:
        """Return the response of an instance to a call of its callback. `headers` have lower-case names.

        `url` is the address used by the caller without its query; the WSDL repeats it. Never raises.
        """
        call = ReceivedCall(
            instance, method, url or _build_address(headers, f"/{instance}/api/callback"), query, headers, body
        )
        return self._respond_and_record(call, self._respond_to_callback)

    def read_back(
        self, instance: Instance, headers: Mapping[str, str], path: str, *, method: str = "GET", query: str = ""
    ) -> MockResponse:
        """Return an instance's response to a call of its messageapi. `path` is the part after `/api/messageapi/`."""
        url = _build_address(headers, f"/{instance}/api/messageapi/{path}")
        return self._respond_and_record(
            ReceivedCall(instance, method, url, query, headers, b"", path), self._respond_to_messageapi
        )

    def _respond_and_record(
        self, call: ReceivedCall, respond: Callable[[ReceivedCall, Findings, str | None], MockResponse]
    ) -> MockResponse:
        findings = Findings()
        account, response = callback.authenticate(self._scenario.accounts, call.headers.get("authorization"))
        if response is not None:
            findings.refusal = Refusal(
                "missing or invalid credentials", "HTTP Basic with the credentials of a declared account"
            )
        else:
            response = respond(call, findings, account)
        with self._lock:
            self._journal.add_entry(self._clock(), call, response, findings)
        self._notify_watchers()
        return response

    def _respond_to_callback(self, call: ReceivedCall, findings: Findings, account: str | None) -> MockResponse:
        if call.method not in {"POST", "PUT"}:
            return contract.respond(call, findings)
        parsed = callback.receive(call.headers, call.body, findings, self._limits.file_bytes)
        if isinstance(parsed, MockResponse):
            return parsed
        with self._lock:
            parsed = parsed.move_files(self._files)
            request = Request(
                parsed.operation, account, self._states[call.instance], self._scenario, findings, self._clock()
            )
            return callback.execute(parsed, request, self._orders)

    def _respond_to_messageapi(self, call: ReceivedCall, findings: Findings, account: str | None) -> MockResponse:
        del account
        with self._lock:
            state = self._states[call.instance]
            return messageapi.respond(call, findings, state, self._files, self._orders, self._clock())


def _build_address(headers: Mapping[str, str], path: str) -> str:
    return f"http://{headers.get('host', 'localhost')}{path}"
