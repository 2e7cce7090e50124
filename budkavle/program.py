"""The entry point of the command `budkavle`.

In a wheel, the packages of the service are in a private folder of `budkavle`, so that none of them meets a package of
the same name of another project. Only this function adds that folder to the import path; importing `budkavle` changes
nothing. In a checkout the packages are on the path already.
"""

import sys
from pathlib import Path

PACKAGES = Path(__file__).with_name("_packages")
"""The private folder. A checkout has none."""


def main() -> None:
    """Run the command line."""
    if PACKAGES.is_dir():
        # First: the working directory, or another project, may have packages of these names.
        sys.path.insert(0, str(PACKAGES))
    from budkavle.commands.cli import main as run

    run()
