"""JWK Sets in files are read again when they change."""

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from oauth2.file_key_sets import CHECK_SECONDS, FileKeySet
from oauth2.key_sets import KeySetUnusable
from tests.tokens import create_key_set, create_token_key, write_key_set

OLD, NEW = create_token_key("ES256", "old"), create_token_key("ES256", "new")


class Clock:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_key_set(tmp_path / "jwks.json", OLD)


def replace_file(path: Path, text: str) -> None:
    """Replace a file at once, as operators should: the new one is another file, even within the same millisecond."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


@contextmanager
def without_file_descriptors() -> Iterator[None]:
    """Let no file be opened, as while callers use all descriptors of the process."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def find_key_ids(source: FileKeySet) -> list[str | None]:
    return [key.key_id for key in source.get_current().keys]


def test_changed_file_is_read_after_the_interval(path: Path, clock: Clock) -> None:
    source = FileKeySet(path, clock)
    replace_file(path, json.dumps(create_key_set(NEW)))
    assert find_key_ids(source) == ["old"]
    clock.seconds += CHECK_SECONDS
    assert find_key_ids(source) == ["new"]


@pytest.mark.anyio
async def test_unknown_key_causes_a_check_at_once(path: Path, clock: Clock) -> None:
    source = FileKeySet(path, clock)
    replace_file(path, json.dumps(create_key_set(NEW)))
    await source.look_for_new_keys()
    assert find_key_ids(source) == ["new"]


@pytest.mark.parametrize("text", ["", "{", '{"keys":[]}', None])
def test_last_good_keys_stay_in_use(path: Path, clock: Clock, text: str | None) -> None:
    source = FileKeySet(path, clock)
    if text is None:
        path.unlink()
    else:
        replace_file(path, text)
    for _ in range(3):
        clock.seconds += 10
        assert find_key_ids(source) == ["old"]
    assert (source.failures, source.get_age()) == (1, 30.0)
    replace_file(path, json.dumps(create_key_set(OLD, NEW)))
    clock.seconds += 10
    assert find_key_ids(source) == ["old", "new"]
    assert (source.failures, source.get_age()) == (1, 0.0)


def test_file_that_could_not_be_opened_is_read_again(path: Path, clock: Clock) -> None:
    source = FileKeySet(path, clock)
    replace_file(path, json.dumps(create_key_set(NEW)))
    with without_file_descriptors(), capture_logs() as entries:
        for _ in range(3):
            clock.seconds += CHECK_SECONDS
            assert find_key_ids(source) == ["old"]
    assert [(entry["event"], entry["key_set"]) for entry in entries] == [("key_set_read_failed", f"file:{path}")]
    assert source.failures == 3
    clock.seconds += CHECK_SECONDS
    assert find_key_ids(source) == ["new"]
    assert source.get_age() == 0.0


def test_age_without_callers_is_that_of_a_check(path: Path, clock: Clock) -> None:
    source = FileKeySet(path, clock)
    clock.seconds += 0.5
    assert source.get_age() == 0.5
    clock.seconds += 3600
    assert source.get_age() == 0.0


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeySetUnusable, match=r"cannot be read: No such file or directory"):
        FileKeySet(tmp_path / "jwks.json")
