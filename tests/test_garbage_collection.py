"""The garbage collector runs during tests, without the objects of the collection."""

import gc

from tests.garbage_collection import FULL_COLLECTION


def test_garbage_collector_skips_collected_tests() -> None:
    assert gc.isenabled()
    assert gc.get_freeze_count() > 10_000


def test_full_garbage_collections_are_rare() -> None:
    assert gc.get_threshold()[2] == FULL_COLLECTION
