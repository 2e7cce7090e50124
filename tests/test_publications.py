"""Every accepted message is on its case exactly once, every refused one never, and none stays in doubt."""

from tests.publication_rounds import Round

SEED = "2"
"""The seed of the actions; how they interleave differs with each run. `make soak` runs many seeds."""


def test_no_interleaving_loses_doubles_or_leaves_a_message_in_doubt(database_url: str) -> None:
    assert Round(SEED, database_url).run() == []
