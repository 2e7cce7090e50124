"""Run the tests of `handlers` and `openapi` while each request passes all layers (decision 0001).

Run: python -m benchmarks.all_layers
"""

import os
import subprocess
import sys

from benchmarks.load import ROOT


def main() -> None:
    print("### Tests with all layers\n", flush=True)
    command = [sys.executable, "-m", "pytest", "-q", "--numprocesses", "auto", "tests/handlers", "tests/openapi"]
    environment = {**os.environ, "BUDKAVLE_LINK_OPERATIONS": "false"}
    sys.exit(subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
