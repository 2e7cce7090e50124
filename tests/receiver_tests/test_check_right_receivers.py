"""The receivers of the guide pass the check without a finding, and quickly."""

import re
from hashlib import sha256
from pathlib import Path

import pytest

from tests.receiver_tests.checking import run_check, serving_list
from tests.webhook_receivers import RECEIVERS, read_inbox, running_receiver

MAX_SECONDS = 20


@pytest.mark.parametrize("heading", RECEIVERS)
def test_receiver_of_the_guide_has_no_findings(heading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def list_inbox() -> list[dict[str, str]]:
        # The names of files have no order, so the times do.
        files = sorted((tmp_path / "inbox").glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
        return [{"id": file.stem, "sha256": sha256(file.read_bytes()).hexdigest()} for file in files]

    with running_receiver(heading, tmp_path, monkeypatch) as url, serving_list(list_inbox) as look:
        result = run_check(f"{url}/star/webhook", tmp_path, "--look", look)

    assert result.exit_code == 0
    assert "keeps the contract" in result.output
    (seconds,) = re.findall(r"checks \(quick, seed [0-9]+, ([0-9]+) s\)", result.output)
    assert int(seconds) <= MAX_SECONDS
    assert "left out: 1 checks (needs --client-cert)" in result.output
    accepted = (tmp_path / "report" / "accepted.txt").read_text().split()
    assert {f"{id_}.json" for id_ in accepted} <= set(read_inbox(tmp_path))
