"""A copy of this machine in which tests install programs as root: all changes are in memory and vanish with it.

Its file system is an overlay above that of this machine, in a mount namespace. Networks and users are those of this
machine. The Python and the distributions of the tests are at their usual paths, and readable by every user.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pytest

from tests.processes import REPOSITORY, SECONDS, Process, build_environment

_SET_UP = """
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o lowerdir=/,upperdir="$1/upper",workdir="$1/work" "$1/root"
cd "$1/root"
for place in /dev /proc /sys; do mount --rbind "$place" ".$place"; done
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs run
layers=$1
shift
for place; do
    # An overlay shows one file system, and /tmp is hidden. Do not bind the place: what tests write there would stay.
    if [ ! -d ".$place" ] || [ "$(stat -c %d "$place")" != "$(stat -c %d /)" ]; then
        layer=$(mktemp -d "$layers/XXXXXX")
        mkdir -p "$layer/upper" "$layer/work" ".$place"
        mount -t overlay overlay -o lowerdir="$place",upperdir="$layer/upper",workdir="$layer/work" ".$place"
    fi
    while [ "$place" != / ]; do place=$(dirname "$place"); chmod a+rx ".$place"; done
done
echo ready
exec cat
"""


class Machine:
    """A running machine."""

    def __init__(self, holder: int, root: Path) -> None:
        self._enter = ["nsenter", f"--mount=/proc/{holder}/ns/mnt", "--", "chroot", str(root)]
        self._environment = build_environment() | {
            "HOME": "/",
            "LC_ALL": "C.UTF-8",
            "PATH": f"/usr/local/sbin:{Path(sys._base_executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INDEX": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
            "TMPDIR": "/tmp",
        }

    def run(self, script: str, folder: str = "/", **variables: str) -> str:
        """Run a script of the shell as root, and return what it printed. It must succeed."""
        result = subprocess.run(
            [*self._enter, "sh", "-euc", f"cd {folder}\n{script}"],
            env=self._environment | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert result.returncode == 0, f"{script}\n{result.stdout}{result.stderr}"
        return result.stdout

    def write_program(self, path: str, script: str) -> None:
        """Write a program of the shell."""
        self.run(f"printf '#!/bin/sh\\n%s\\n' \"$SCRIPT\" > {path} && chmod a+rx {path}", SCRIPT=script)

    def start(self, *command: str, **variables: str) -> Process:
        """Start a program, in the environment of the machine and these variables."""
        return Process([*self._enter, *command], self._environment | variables)

    def link_distributions(self, names: Iterable[str], environment: str) -> None:
        """Install distributions of the tests into a virtual environment: there may be no network."""
        source = Path(sysconfig.get_path("purelib"))
        tops = {
            path.parts[0]
            for name in names
            for path in metadata.files(name) or ()
            if path.parts[0] not in {"..", "__pycache__"}
        }
        places = " ".join(f"'{source / top}'" for top in sorted(tops))
        # Programs on a read-only file system see an empty /tmp.
        place = "cp -r" if source.is_relative_to("/tmp") else "ln -sf"
        self.run(f"{place} -t {environment}/lib/python3.{sys.version_info.minor}/site-packages {places}")


@contextmanager
def running_machine(folder: Path) -> Iterator[Machine]:
    """Yield a machine below an empty folder."""
    if os.geteuid() != 0 or shutil.which("nsenter") is None:
        pytest.skip("namespaces need root and util-linux")
    places = [str(REPOSITORY), sys.prefix, sys.base_prefix]
    holder = Process(
        ["unshare", "--mount", "--propagation", "private", "sh", "-euc", _SET_UP, "sh", str(folder), *places],
        build_environment(),
    )
    try:
        holder.wait_for("ready")
        yield Machine(holder.pid, folder / "root")
    finally:
        holder.end()
        holder.show()
