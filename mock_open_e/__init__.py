"""A mock of Open-E's integration callback: one behaviour, and the door for Python tests.

    with mock_open_e(cases={1068}) as open_e:
        ...                                   # code under test posts with `requests`
        assert open_e.messages[0]["message"] == "Hej"

The other door is a server (`mock_open_e.server`, or `budkavle mock-open-e` on the command line). Projects that use
pytest have the fixture `open_e_mock` (`mock_open_e.pytest_plugin`).

It answers what Open-E answers, in Open-E's order and words; docs/reference/mock-open-e.md has a table of it with the
tests. In strict mode it also refuses what Open-E silently swallows, and says why. It does not imitate:
- what Open-E's own XML parser says about broken XML: the beginning of the text is the same;
- what nobody knows of the real texts: those for values that the database has no room for, for an attribute without a
  name, the flow's name in StatusNotFoundFault;
- checks of addEvent, which takes any date and any message; the order of checks within addMessageAsOwner and
  addInternalMessage is that of addMessage;
- notifications, e-mail, the search index, what a flow hides from owners, cases without owners;
- accounts that are locked after many wrong passwords, and the redirect to a login form;
- flow versions in the messageapi, whose number is taken for that of a family; the zone of the server: times are shown
  and compared as they were sent; other APIs (instanceapi, getflows);
- an answer with attachments to MTOM requests, and gzip: such requests are a fault, as there;
- sizes without bound: it takes 200,000 elements, 500 of them within each other, and keeps the newest messages only.

All but the server needs no more than the standard library, lxml, `requests` and `responses`, so that it can be used
beside any other package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mock_open_e.names import *  # noqa: F403  # All that the package exports.
else:

    def __getattr__(name: str) -> Any:
        """Return a public name, imported when it is used: pytest imports this package wherever it is installed."""
        names = import_module("mock_open_e.names")

        if name != "__all__" and name not in names.__all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(names, name)
