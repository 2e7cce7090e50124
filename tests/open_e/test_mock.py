"""The earlier name of the mock."""

import mock_open_e
from open_e import mock


def test_mock_has_all_names_of_the_package_that_replaced_it():
    assert {name: getattr(mock, name) for name in mock.__all__} == {
        name: getattr(mock_open_e, name) for name in mock_open_e.__all__
    }
