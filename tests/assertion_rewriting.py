"""A pytest plugin that lets the processes of a run share the rewriting of assertions.

pytest rewrites the assertions of each test file once and stores the result. In a new checkout, however, all processes
of pytest-xdist collect the same files at the same time, so each of them would rewrite every file, which takes seconds.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.assertion import rewrite


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Rewrite the files that no process has rewritten yet. Each process begins with another share of them."""
    worker = getattr(session.config, "workerinput", None)
    if worker is None or sys.dont_write_bytecode or session.config.getoption("assertmode") != "rewrite":
        return
    files = sorted(_find_test_files(session.config))
    start = len(files) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    for file in files[start:] + files[:start]:
        _store_rewritten(file, session.config)


def _find_test_files(config: pytest.Config) -> Iterator[Path]:
    for name in config.args:
        path = Path(config.invocation_params.dir, name.partition("::")[0])
        for pattern in config.getini("python_files"):
            yield from path.rglob(pattern) if path.is_dir() else [path]


def _store_rewritten(file: Path, config: pytest.Config) -> None:
    """Do what the import of the file would do, without running it. The import then finds the stored result."""
    folder = rewrite.get_cache_dir(file)
    stored = folder / (file.stem + rewrite.PYC_TAIL)
    if stored.exists() and stored.stat().st_mtime > file.stat().st_mtime:
        return
    if rewrite._read_pyc(file, stored) is None and rewrite.try_makedirs(folder):
        source_hash, code = rewrite._rewrite_test(file, config)
        rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, source_hash, stored)
