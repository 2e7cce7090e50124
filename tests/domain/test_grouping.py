"""Groups of bounded size."""

from domain.grouping import split_by_size


def test_split_by_size_limits_numbers_and_bytes() -> None:
    sizes = [("a", 1), ("b", 1), ("c", 1), ("d", 100), ("e", 5), ("f", 5), ("g", 1)]
    assert split_by_size(sizes, 2, 10) == [["a", "b"], ["c"], ["d"], ["e", "f"], ["g"]]
    assert split_by_size([(1, 9), (2, 20), (3, 1)], 2, 10) == [[1], [2], [3]]
    assert split_by_size([], 2, 10) == []
