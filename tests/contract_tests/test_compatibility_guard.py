"""The compatibility guard on a whole repository, as `make check` runs it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from contract_tests.compatibility.__main__ import main
from contract_tests.compatibility.guard import BASELINES
from tests.processes import REPOSITORY, SECONDS

PUBLISHED, RELEASED = BASELINES
HEALTHY = "Contracts: all that was published or released is kept, but for {} listed differences.\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a copy of the files that the guard reads."""
    shutil.copytree(REPOSITORY / "spec", tmp_path / "spec")
    for name in ("contracts", "decisions"):
        shutil.copytree(REPOSITORY / "docs" / name, tmp_path / "docs" / name)
    # The tests start without the breaks that are listed for the next release.
    for path in (REPOSITORY / "spec").glob("*.yaml"):
        shutil.copy(path, tmp_path / RELEASED.folder)
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n## [0.1.0]\n")
    return tmp_path


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_contracts_are_compatible_with_published_and_released_ones() -> None:
    command = [sys.executable, "-m", "contract_tests.compatibility"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert result.stdout.startswith("Contracts: all that was published or released is kept")
    assert result.stdout.count("\n") == 1


def test_break_is_reported_for_each_older_contract(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace(repository / "spec" / "web-messages.yaml", "operationId: deleteWebMessageById", "operationId: removeIt")
    assert main([str(repository)]) == 1
    line = '  deleteWebMessageById: operationId was "deleteWebMessageById", is "removeIt"\n'
    advice = (
        "List the intended ones in {}, in a table | what | why | differences | under a heading with "
        "`spec/web-messages.yaml`, and fix the rest.\n"
    )
    assert capsys.readouterr().out == "\n".join(
        f"spec/web-messages.yaml, compared with {baseline.words} ({baseline.folder}):\n"
        f"{line}{advice.format(baseline.page)}"
        for baseline in BASELINES
    )


def test_break_of_only_the_last_release_is_listed_in_the_changelog(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(repository / "spec" / "operations.yaml", "operationId: getMetrics", "operationId: readMetrics")
    assert main([str(repository)]) == 1
    output = capsys.readouterr().out.splitlines()
    (line,) = [line.strip() for line in output if line.startswith("  ")]
    table = f"""### Breaking: `spec/operations.yaml`

| what | why | differences |
|---|---|---|
| another name | it reads | `{line}` |
"""
    replace(repository / "CHANGELOG.md", "## [Unreleased]\n", f"## [Unreleased]\n\n{table}")
    assert main([str(repository)]) == 0
    # A release copies its contracts, so they are no differences any more, and the list is obsolete.
    shutil.copy(repository / "spec" / "operations.yaml", repository / RELEASED.folder)
    capsys.readouterr()
    assert main([str(repository)]) == 1
    expected = f"  {line}\nThis is listed in CHANGELOG.md, but it is no difference now, or it is listed twice.\n"
    assert expected in capsys.readouterr().out
    replace(repository / "CHANGELOG.md", "## [Unreleased]\n", "## [Unreleased]\n\n## [0.2.0]\n")
    assert main([str(repository)]) == 0


def test_listed_difference_without_a_difference_fails(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace(repository / "spec" / "web-messages.yaml", "maxItems: 1000\n", "maxItems: 1001\n")
    shutil.copy(repository / "spec" / "web-messages.yaml", repository / RELEASED.folder)
    assert main([str(repository)]) == 1
    out = capsys.readouterr().out
    assert (
        "  requests CreateWebMessageRequest.externalReferences: maxItems 1001 is new\nList the intended ones in docs/"
        in out
    )
    assert "  requests CreateWebMessageRequest.externalReferences: maxItems 1000 is new\nThis is listed in docs/" in out


def test_difference_that_is_listed_twice_fails(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = "| again | reason | `syncWebhookAbonnementer 200: has content now` |\n"
    page = repository / PUBLISHED.page
    replace(page, "\nThe codes 1001", f"{row}\nThe codes 1001")
    assert main([str(repository)]) == 1
    assert "  syncWebhookAbonnementer 200: has content now\nThis is listed" in capsys.readouterr().out


def test_list_of_an_unknown_contract_fails(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = "### `spec/other.yaml`\n| what | why | differences |\n|---|---|---|\n| one | reason | `a: b` |\n"
    replace(repository / "CHANGELOG.md", "## [Unreleased]\n", f"## [Unreleased]\n{table}")
    assert main([str(repository)]) == 1
    assert "spec/other.yaml, compared with the last release" in capsys.readouterr().out


def test_missing_contract_fails(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repository / "spec" / "operations.yaml").unlink()
    assert main([str(repository)]) == 1
    assert "spec/operations.yaml, compared with the last release" in (out := capsys.readouterr().out)
    assert "  the contract: no longer there\n" in out


@pytest.mark.parametrize("name", [PUBLISHED.folder, RELEASED.folder, PUBLISHED.page, RELEASED.page])
def test_guard_without_older_contracts_fails(repository: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    place = repository / name
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    assert main([str(repository)]) == 2
    assert capsys.readouterr().err.startswith("The contracts cannot be compared: ")


def test_unreadable_list_is_reported(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace(repository / PUBLISHED.page, "`syncWebhookAbonnementer 200: has content now`", "content")
    assert main([str(repository)]) == 2
    assert "differences must be in code" in capsys.readouterr().err


def test_unchanged_copies_pass(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(repository)]) == 0
    page = (repository / PUBLISHED.page).read_text()
    listed = sum(line.count(": ") and line.count("<br>") + 1 for line in page.splitlines() if line.endswith("` |"))
    assert capsys.readouterr().out == HEALTHY.format(listed)
