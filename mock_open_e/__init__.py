"""A mock of Open-E's integration callback, with an interface for Python tests and a server.

    with mock_open_e(cases={1068}) as open_e:
        ...                                   # code under test posts with `requests`
        assert open_e.messages[0]["message"] == "Hej"

The server is `mock_open_e.server`, or `budkavle mock-open-e` on the command line. Projects that use pytest have the
fixture `open_e_mock` (`mock_open_e.pytest_plugin`).

The mock responds as Open-E does, with the same order of checks and the same texts; docs/reference/mock-open-e.md has a
table of the behaviours with their tests. Strict mode also rejects what Open-E silently ignores, and explains why. Not
imitated:

- the messages of Open-E's XML parser about malformed XML, except for the beginning of the text;
- unknown texts of Open-E: those for values that exceed a column, for an attribute without a name, and the flow's name
  in StatusNotFoundFault;
- checks of addEvent, which accepts any date and any message; addMessageAsOwner and addInternalMessage check in the
  order of addMessage;
- notifications, e-mail, the search index, content that a flow hides from owners, cases without owners;
- accounts that are locked after many wrong passwords, and the redirect to a login form;
- flow versions in the messageapi, whose number is interpreted as that of a family; other APIs (instanceapi, getflows);
- responses with attachments to MTOM requests, and gzip: such requests get a fault, as in Open-E;
- unlimited sizes: the mock accepts 200,000 elements with a depth of 500, and stores only the newest messages.

Everything except the server needs only the standard library, lxml, `requests` and `responses`, so that it can be
installed together with any other package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mock_open_e.names import *  # noqa: F403  # All that the package exports.
else:

    def __getattr__(name: str) -> Any:
        """Return a public name. Import it lazily, because pytest imports this package wherever it is installed."""
        names = import_module("mock_open_e.names")

        if name != "__all__" and name not in names.__all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(names, name)
