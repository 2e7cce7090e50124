"""The entry point of the command `mock-open-e`.

In a wheel, the packages that the server shares with the service are in a private folder of `mock_open_e`, so that their
names do not collide with packages of other projects. Only this function adds that folder to the import path. In a
checkout the packages are already on the path.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = Path(__file__).with_name("_packages")
"""The private folder. A checkout has none."""

SERVER_MODULES = (
    "click",
    "connexion",
    "httptools",
    "inflection",
    "jinja2",
    "jsonschema_rs",
    "orjson",
    "prometheus_client",
    "python_multipart",
    "starlette",
    "structlog",
    "uvicorn",
    "yaml",
)
"""The modules that `mock-open-e[server]` adds. The server also works without uvloop."""


def main() -> None:
    """Run the command line. Exit with 2 if the packages of the server are not installed."""
    missing = [name for name in SERVER_MODULES if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            "The server of the mock needs more packages than the mock itself: pip install 'mock-open-e[server]' "
            f"({', '.join(missing)} missing)\n"
        )
        raise SystemExit(2)
    if PACKAGES.is_dir():
        # Put the folder first: the working directory, or another project, may have packages of these names.
        sys.path.insert(0, str(PACKAGES))
    from mock_open_e.server import command

    command.main()
