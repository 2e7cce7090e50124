"""The model of publications detects each kind of violation."""

from collections import Counter

import pytest

from tests.publication_model import NO_ANSWER, Content, Found, PublicationModel

A, B = Content(1, "a"), Content(1, "b")


def record(*posts: tuple[Content, str | None, int, str | None]) -> PublicationModel:
    model = PublicationModel()
    for content, key, status, location in posts:
        post = model.begin(content, key)
        if status != NO_ANSWER:
            model.end(post, status, location)
    return model


def found(*on_case: Content, in_doubt: int = 0, **readable: Content) -> Found:
    return Found(Counter(on_case), {f"/{name}": content for name, content in readable.items()}, in_doubt)


@pytest.mark.parametrize(
    ("posts", "result"),
    [
        ([(A, None, 201, "/x")], found(A, x=A)),
        ([(A, None, 201, "/x"), (A, None, 201, "/y")], found(A, A, x=A, y=A)),
        ([(A, None, 404, None), (B, "k", 422, None)], found()),
        ([(A, None, NO_ANSWER, None)], found()),
        ([(A, None, 500, None)], found(A, x=A)),
        ([(A, "k", NO_ANSWER, None), (A, "k", 409, None), (A, "k", 201, "/x"), (A, "k", 201, "/x")], found(A, x=A)),
        ([(A, "k", 201, "/x"), (B, "k", 422, None)], found(A, x=A)),
    ],
)
def test_check_accepts_what_may_happen(posts, result):
    assert record(*posts).check(result) == []


@pytest.mark.parametrize(
    ("posts", "result", "kinds"),
    [
        ([(A, None, 201, "/x")], found(x=A), ["lost", "not published"]),
        ([(A, None, 201, "/x")], found(A), ["hidden", "unreadable"]),
        ([(A, None, 201, "/x")], found(A, A, x=A), ["doubled or refused", "hidden"]),
        ([(A, None, 404, None)], found(A, x=A), ["doubled or refused"]),
        ([(A, None, 500, None)], found(A), ["hidden"]),
        ([(A, None, 500, None)], found(x=A), ["not published"]),
        ([(A, None, 500, None)], found(in_doubt=1), ["1 messages are in doubt"]),
        ([(A, "k", 500, None), (A, "k", 201, "/x")], found(A, A, x=A, y=A), ["doubled or refused"]),
        ([(A, "k", 201, "/x"), (A, "k", 201, "/y")], found(A, A, x=A, y=A), ["doubled or refused", "two messages"]),
        ([(A, "k", 201, "/x"), (B, "k", 201, "/y")], found(A, B, x=A, y=B), ["doubled or refused", "reused"]),
        ([(A, "k", 500, None), (B, "k", 201, "/y")], found(A, B, x=A, y=B), ["doubled or refused"]),
        ([(A, None, 201, "/x"), (A, None, 201, "/x")], found(A, A, x=A), ["hidden", "confused"]),
        ([], found(A), ["doubled or refused", "hidden"]),
    ],
)
def test_check_detects_each_violation(posts, result, kinds):
    assert [violation.split(": ")[0] for violation in record(*posts).check(result)] == kinds


def test_check_allows_deleted_messages_to_be_on_their_case_only():
    model = record((A, None, 201, "/x"), (B, None, 500, None))
    model.delete("/x", A)
    assert model.check(found(A)) == []
    assert model.check(found()) != [], "a message that was accepted must be on its case"
    assert [each.split(": ")[0] for each in model.check(found(A, B))] == ["hidden"]
    model.delete("/y", B)
    assert model.check(found(A, B)) == []


def test_check_does_not_decide_between_equal_messages_of_others():
    model = record((A, None, 500, None))
    model.plant_equal(A._replace(sender="another"))
    assert model.check(found(x=A)) == []
    assert model.check(found(A, A, x=A)) != []


def test_certain_keys_are_those_whose_outcome_is_known():
    model = record((A, "a", 500, None), (A, "b", NO_ANSWER, None), (A, "b", 201, "/x"), (A, "c", 404, None))
    assert [model.is_certain(key) for key in "abc"] == [False, True, True]
