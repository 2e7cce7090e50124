"""Read a Containerfile, and execute its steps on a machine without a container engine."""

import json
import re
import shlex
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from tests.deploy.machines import Machine
from tests.processes import REPOSITORY

_LOCKED = re.compile(r"^([a-z0-9-]+)==", re.MULTILINE)


def read_locked_names(requirements: str) -> list[str]:
    """Return the names of the distributions that a file of requirements locks."""
    return _LOCKED.findall((REPOSITORY / requirements).read_text())


@dataclass(frozen=True)
class Instruction:
    """An instruction of a stage, without its flags."""

    stage: str
    keyword: str
    flags: tuple[str, ...]
    argument: str


class Image:
    """What the last stage of a Containerfile gives a container."""

    def __init__(self, path: Path) -> None:
        self._last = [each for each in read_instructions(path) if each.stage == "final"]
        arguments = self._read_pairs("ARG")
        labels = self._read_pairs("LABEL")
        self.labels = {name: arguments.get(value.strip("${}"), value) for name, value in labels.items()}
        self.variables = self._read_pairs("ENV")
        self.user = self._read("USER")
        self.folder = self._read("WORKDIR") or "/"
        self.volumes = self._read("VOLUME")
        self.entry_point: list[str] = json.loads(self._read("ENTRYPOINT"))
        self.command: list[str] = json.loads(self._read("CMD") or "[]")
        self.health_check: list[str] = json.loads(self._read("HEALTHCHECK").removeprefix("CMD"))

    def _read(self, keyword: str) -> str:
        """Return the argument of the last instruction with a keyword."""
        return next((each.argument for each in reversed(self._last) if each.keyword == keyword), "")

    def _read_pairs(self, keyword: str) -> dict[str, str]:
        texts = [each.argument for each in self._last if each.keyword == keyword]
        return dict(word.split("=", 1) for text in texts for word in shlex.split(text))


def read_instructions(path: Path) -> list[Instruction]:
    """Return the instructions of a file in order. The last stage has the name "final"."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    found, stage = [], ""
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if not line:
            continue
        keyword, *words = line.split()
        if keyword == "FROM":
            stage = words[2] if "AS" in words else "final"
        flags = [word for word in words if word.startswith("--")]
        # Flags come first; those of a command remain.
        while flags and words[: len(flags)] != flags:
            flags.pop()
        argument = line.removeprefix(keyword)
        for flag in flags:
            argument = argument.replace(flag, "", 1)
        found.append(Instruction(stage, keyword, tuple(flags), argument.strip()))
    return found


def is_in_context(name: str) -> bool:
    """Return whether a file of the repository reaches a build."""
    is_ignored = False
    for line in (REPOSITORY / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        parts = name.split("/") if pattern.startswith("**/") else name.split("/")[:1]
        if any(fnmatch(part, pattern.removeprefix("**/")) for part in parts):
            is_ignored = not line.startswith("!")
    return not is_ignored


def execute(path: Path, machine: Machine) -> None:
    """Execute a file on a machine, except what needs a network: packages of Debian, and downloads of distributions.

    Environments get the locked distributions as links; pip compares them with the requirements.
    """
    folder = "/"
    for each in read_instructions(path):
        match each.keyword:
            case "WORKDIR" if each.stage == "build":
                folder = each.argument
                machine.run(f"mkdir -p {folder}")
            case "COPY" if each.stage == "build":
                source, target = each.argument.split()
                _copy(machine, source, f"{folder}/{target}")
            case "RUN":
                for command in each.argument.split("&&"):
                    _execute_command(machine, command.strip(), folder)


def _copy(machine: Machine, source: str, target: str) -> None:
    names = [
        path.relative_to(REPOSITORY)
        for path in (REPOSITORY / source).rglob("*")
        if path.is_file() and not {".venv", "__pycache__", ".git"} & set(path.relative_to(REPOSITORY).parts)
    ]
    kept = "\n".join(str(name.relative_to(source)) for name in names if is_in_context(str(name)))
    read = f"echo \"$NAMES\" | tar -C '{REPOSITORY / source}' -cf- -T-"
    machine.run(f"mkdir -p {target}; {read} | tar -C {target} -xf-", NAMES=kept)


def link_pip(machine: Machine, environment: str) -> None:
    """Install pip into a virtual environment without a network, and faster than `ensurepip`."""
    machine.link_distributions(["pip"], environment)
    machine.write_program(f"{environment}/bin/pip", f'exec {environment}/bin/python -m pip "$@"')


def _execute_command(machine: Machine, command: str, folder: str) -> None:
    if command.startswith(("apt-get", "rm -rf /var/cache/apt")):
        return
    if command == "python3 -m venv /build":
        machine.run(f"{command} --without-pip")
        link_pip(machine, "/build")
        return
    if "--require-hashes" in command:
        (requirements,) = re.findall(r"-r (\S+)", command)
        environment = re.findall(r"--python (\S+)/bin/python", command) or ["/build"]
        machine.link_distributions(read_locked_names(requirements), environment[0])
    machine.run(command, folder)
