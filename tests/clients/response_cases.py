"""Record which responses of a contract the tests cause, and which no caller can cause."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import httpx

from tests.clients.generating import Generated

UNAUTHORIZED = 401


class Api(Protocol):
    """A generated client of a running service."""

    generated: Generated

    def arguments(self, operation_id: str) -> dict[str, Any]:
        """Return valid arguments of an operation, with an authorised client."""


Case = Callable[[Callable[..., Any], Any], Any]
"""A function that calls an operation with valid arguments, except for those that it sets, and returns the response."""


@dataclass(frozen=True)
class ResponseCase:
    """A documented response, and the function that causes it."""

    operation_id: str
    status: int
    case: Case

    def __str__(self) -> str:
        return f"{self.operation_id}-{self.status}-{self.case.__name__}"

    def check(self, api: Any) -> None:
        """Call the operation, and assert the status and, for an error, the type that the contract declares."""
        call = partial(api.generated.operation(self.operation_id).sync_detailed, **api.arguments(self.operation_id))
        _check(api.generated, self.operation_id, self.status, self.case(call, api))


@dataclass
class ResponseCases:
    """The cases of a contract; `uncaused` maps responses that no caller can cause to reasons."""

    uncaused: dict[tuple[str, int], str] = field(default_factory=dict)
    cases: list[ResponseCase] = field(default_factory=list)

    def register(self, status: int, *operation_ids: str) -> Callable[[Case], Case]:
        """Register the decorated function as the case for this status of each of these operations."""

        def add(case: Case) -> Case:
            self.cases.extend(ResponseCase(operation_id, status, case) for operation_id in operation_ids)
            return case

        return add

    def exclude(self, status: int, operation_ids: Iterable[str], *, because: str) -> None:
        self.uncaused.update({(operation_id, status): because for operation_id in operation_ids})

    def assert_complete(self, generated: Generated) -> None:
        """Assert that each documented response of each operation has a case or a reason."""
        cases = {(case.operation_id, case.status) for case in self.cases}
        assert cases.isdisjoint(self.uncaused)
        assert cases | set(self.uncaused) == set(_list_documented(generated))

    def assert_examples_are_parsed(self, api: Any) -> None:
        """Assert that the client parses the examples of the responses that no caller can cause."""
        for operation_id, status in self.uncaused:
            content = api.generated.declared_response(operation_id, status)["content"].values()
            example = next(iter(content)).get("example", {"title": "Not Found"})
            transport = httpx.MockTransport(
                lambda _, status=status, example=example: httpx.Response(status, json=example)
            )
            arguments = {
                **api.arguments(operation_id),
                "client": api.generated.caller("http://service.test", transport=transport),
            }
            response = api.generated.operation(operation_id).sync_detailed(**arguments)
            assert response.parsed.to_dict() == example
            _check(api.generated, operation_id, status, response, of_the_service=False)


def _list_documented(generated: Generated) -> Iterator[tuple[str, int]]:
    for operation_id, operation in generated.operations().items():
        for status in operation["responses"]:
            yield operation_id, int(status)


def _check(generated: Generated, operation_id: str, status: int, response: Any, *, of_the_service: bool = True) -> None:
    assert response.status_code == status, response.content[:1000]
    documented = generated.declared_response(operation_id, status)
    if of_the_service:
        # Challenges of a 400 and 403 are those of tokens only.
        required = [
            name
            for name, header in documented["headers"].items()
            if header.get("required") or ("$ref" in header and (name != "WWW-Authenticate" or status == UNAUTHORIZED))
        ]
        assert [name for name in required if name not in response.headers] == []
    if "content" not in documented:
        assert response.parsed is None
        return
    schema = next(iter(documented["content"].values()))["schema"]
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        named = generated.spec["components"]["schemas"][name].get("title", name)
        assert type(response.parsed) is getattr(generated.models, named)
