"""The operations of the callback that store no message, and the function of each operation of the table."""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from mock_open_e.behaviour import messages, refusals
from mock_open_e.behaviour.namespaces import CALLBACK_NAMESPACE
from mock_open_e.behaviour.operation_table import SHAPES, name_request_element
from mock_open_e.behaviour.request import Change, Reply, Request, find_case, find_family, find_sender
from mock_open_e.behaviour.soap.reading import find_child, parse_int, read_text
from mock_open_e.behaviour.soap.writing import escape_xml_text
from mock_open_e.behaviour.state import Case

_LONGEST_VALUE = 65_535
"""Maximum characters of an attribute; inferred."""


def set_status(request: Request) -> Change:
    """Change the status of the case. The eventID is 0 if the case already has that status."""
    case = find_case(request, prefix=False)
    user_id, _ = find_sender(request)
    status = _find_status(request, case)

    def change() -> Reply:
        if case.status == status:
            return Reply("<eventID>0</eventID>", 0)
        request.state.store_case(replace(case, status=status))
        return _add_history_event(request, case, "", str(status), user_id)

    return change


def _find_status(request: Request, case: Case) -> int | str:
    """Return the requested status, found by number, or by alias if there is no number."""
    family = find_family(request, case)
    number = parse_int(find_child(request.element, "statusID"))
    alias = read_text(find_child(request.element, "statusAlias"))
    wanted = alias if number is None else number
    if family.statuses is None:
        # The vendor's own mock of the platform rejects this alias too.
        is_known = number > 0 if number is not None else bool(alias) and alias != "NotFound"
        if wanted is not None and is_known:
            return wanted
    for status in family.statuses or ():
        if wanted is not None and wanted == (status.alias if number is None else status.number):
            return status.number
    raise refusals.status_not_found("null" if wanted is None else wanted, family.name)


def add_event(request: Request) -> Change:
    """Add an entry to the history of the case."""
    case = find_case(request, prefix=False)
    user_id, _ = find_sender(request)
    date = (read_text(find_child(request.element, "date")) or "").strip(" \t\r\n")
    text = read_text(find_child(request.element, "message")) or ""
    return lambda: _add_history_event(request, case, date, text, user_id)


def _add_history_event(request: Request, case: Case, date: str, text: str, user_id: str | None) -> Reply:
    kind = request.operation.local_name
    event = request.state.add_event(case.number, kind, date or request.server_time.isoformat(), text, user_id)
    return Reply(f"<eventID>{event.event_id}</eventID>", event.event_id)


def confirm_delivery(request: Request) -> Change:
    """Record that the case arrived in another system, and its number in that system. Idempotent."""
    case = find_case(request, externally=False)
    delivered = (read_text(find_child(request.element, "delivered")) or "").strip(" \t\r\n") in {"true", "1"}
    external = find_child(request.element, "externalID")
    log_message = read_text(find_child(request.element, "logMessage")) or ""

    def change() -> Reply:
        external_id = case.external_id
        if delivered and external is not None:
            external_id = (read_text(find_child(external, "ID")) or "", read_text(find_child(external, "System")) or "")
        confirmed = replace(case, delivered=delivered, external_id=external_id)
        if confirmed != case:
            request.state.store_case(confirmed)
            _add_history_event(request, case, "", log_message, None)
        return Reply()

    return change


def delete_instance(_: Request) -> Change:
    """Always raise a fault."""
    raise refusals.deleting_not_supported()


def set_attribute(request: Request) -> Change:
    """Set an attribute of the case, or remove it if the value is empty."""
    case = find_case(request, prefix=False)
    name = read_text(find_child(request.element, "name"))
    value = read_text(find_child(request.element, "value"))
    if not name:
        raise refusals.attribute_without_name()
    if len(name) > messages.LONGEST_NAME or len(value or "") > _LONGEST_VALUE:
        raise refusals.too_long("name" if len(name) > messages.LONGEST_NAME else "value")

    def change() -> Reply:
        attributes = {key: kept for key, kept in case.attributes.items() if key != f"callback.{name}"}
        if value:
            attributes[f"callback.{name}"] = value
        request.state.store_case(replace(case, attributes=MappingProxyType(attributes)))
        return Reply()

    return change


def get_managers(request: Request) -> Change:
    """Return the managers of the case."""
    case = find_case(request)

    def read() -> Reply:
        users = [request.scenario.user(username) for username in case.managers]
        managers = "".join(
            f"<managers>{f'<name>{escape_xml_text(user.name)}</name>' if user.name else ''}"
            f"<userID>{escape_xml_text(user.username)}</userID></managers>"
            for user in users
            if user is not None
        )
        groups = "".join(
            f"<managerGroups><name>{escape_xml_text(name)}</name></managerGroups>" for name in case.manager_groups
        )
        return Reply(managers + groups)

    return read


def set_managers(request: Request) -> Change:
    """Replace the managers of the case. The eventID is 0 if they are the same."""
    case = find_case(request, prefix=False)
    family = find_family(request, case)
    managers = _list_names(request, "managers", "userID")
    groups = _list_names(request, "managerGroups", "name")
    unknown = [name for name in managers if request.scenario.user(name) is None]
    unknown += [name for name in managers if family.managers is not None and name not in family.managers]
    unknown += [name for name in groups if family.manager_groups is not None and name not in family.manager_groups]
    if unknown:
        raise refusals.managers_not_valid(", ".join(unknown))

    def change() -> Reply:
        number = 0
        if (managers, groups) != (case.managers, case.manager_groups):
            request.state.store_case(replace(case, managers=managers, manager_groups=groups))
            text = ", ".join((*managers, *groups))
            number = request.state.add_event(
                case.number, "setManagers", request.server_time.isoformat(), text, None
            ).event_id
        return Reply(f"<setManagersReturn>{number}</setManagersReturn>", number)

    return change


def _list_names(request: Request, element: str, name: str) -> tuple[str, ...]:
    """Return the names in repeated elements without duplicates, in order."""
    found = request.element.iterfind(f"{{{CALLBACK_NAMESPACE}}}{element}")
    return tuple(dict.fromkeys(read_text(find_child(each, name)) or "" for each in found))


def _list_checks() -> Iterator[tuple[str, tuple[str, Callable[[Request], Change]]]]:
    """Yield the request element, the name and the function of each operation of the table."""
    known = {name: function for module in (messages, sys.modules[__name__]) for name, function in vars(module).items()}
    for operation in SHAPES:
        function = known[re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", operation)]
        yield name_request_element(operation), (operation, function)


_OPERATIONS: Mapping[str, tuple[str, Callable[[Request], Change]]] = MappingProxyType(dict(_list_checks()))
"""The name and the function of each operation, by its request element.

The response element is the operation's name with the suffix `Response`. `SHAPES` is the table of operations: the
function of `setStatus` is `set_status`, here or in `messages`.
"""


def check(request: Request) -> tuple[str, Change]:
    """Return the name of the requested operation and the change that executes it.

    Raises SoapFault if Open-E responds with one.
    """
    local_name = request.operation.local_name
    if request.operation.name != f"{{{CALLBACK_NAMESPACE}}}{local_name}" or local_name not in _OPERATIONS:
        raise refusals.no_such_operation(request.operation.name)
    name, check_operation = _OPERATIONS[local_name]
    request.findings.operation = name
    return name, check_operation(request)
