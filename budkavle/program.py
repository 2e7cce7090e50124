"""The entry point of the command `budkavle`.

In a wheel, the packages of the service are in a private folder of `budkavle`, so that their names do not collide with
packages of other projects. Only this function adds that folder to the import path; importing `budkavle` does not. In a
checkout the packages are already on the path.
"""

import sys
from pathlib import Path

PACKAGES = Path(__file__).with_name("_packages")
"""The private folder. A checkout has none."""


def main() -> None:
    """Run the command line."""
    if PACKAGES.is_dir():
        # Put the folder first: the working directory, or another project, may have packages of these names.
        sys.path.insert(0, str(PACKAGES))
    from budkavle.commands.cli import main as run

    run()
