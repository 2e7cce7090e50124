"""The garbage collector runs during tests, without the objects of the collection."""

import gc


def test_garbage_collector_skips_collected_tests() -> None:
    assert gc.isenabled()
    assert gc.get_freeze_count() > 10_000
