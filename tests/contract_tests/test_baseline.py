"""Known findings do not fail a check, new ones do, and those that are gone are named."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from budkavle.commands.contract_check import contract_check, run_check
from budkavle.specs import find_spec_dir
from contract_tests import summary
from contract_tests.baseline import BaselineError, read_baseline, write_baseline
from contract_tests.suites import Check
from contract_tests.summary import Heading
from contract_tests.verdict import CheckFinding, Failure, SuiteResult, Verdict
from tests.contract_tests.breakages import Case
from tests.contract_tests.breakages_of_receipts import OF_RECEIPTS
from tests.contract_tests.checking import Server
from tests.warm_suites import WarmSuite

RULES, SCHEMA = "rules of web-messages", "schema of web-messages"
HEADING = Heading("http://127.0.0.1:8080", "quick", 0, Path("report"), "")


def fail(name: str, words: str = "expected 3, got 4", suite: str = RULES) -> Failure:
    return Failure(suite, name, words, ("curl http://127.0.0.1:8080/x",))


def build_verdict(*failures: Failure, **values: object) -> Verdict:
    results = [
        SuiteResult(name, 10, 1.0, tuple(each for each in failures if each.suite == name)) for name in (RULES, SCHEMA)
    ]
    return Verdict(results, **values)  # type: ignore[arg-type]


def test_written_findings_are_known_afterwards_though_their_texts_differ(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    first = [fail("list is sorted [by party]", "id 17"), fail("POST /webmessages", "- Server error\n\n[500]", SCHEMA)]
    write_baseline(file, first, str)
    second = [fail("list is sorted [by party]", "id 18"), fail("POST /webmessages", "- Server error\n\n[502]", SCHEMA)]
    verdict = build_verdict(*second, baseline=read_baseline(file))
    assert (verdict.failures, verdict.known, verdict.gone) == ([], second, [])
    text = summary.format_screen(verdict, HEADING)
    assert text.startswith("http://127.0.0.1:8080 has 2 known failures, and no new ones, in 20 checks")
    assert "known, from the baseline:\n   rules of web-messages: list is sorted [by party]" in text


def test_new_findings_fail_next_to_known_ones(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    known = fail("POST /webmessages", "- Server error", SCHEMA)
    write_baseline(file, [known], str)
    others = [fail("POST /webmessages", "- Undocumented HTTP status code", SCHEMA), fail("list is sorted")]
    verdict = build_verdict(known, *others, baseline=read_baseline(file))
    assert verdict.known == [known]
    assert sorted(verdict.failures, key=others.index) == others
    assert "BREAKS the contract: 2 new failures in 20 checks" in summary.format_screen(verdict, HEADING)


def test_findings_that_are_gone_are_named_if_their_suite_ran_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    write_baseline(file, [fail("a"), fail("GET /webmessages", "- Timeout", SCHEMA), fail("b", suite="raw bytes")], str)
    verdict = build_verdict(baseline=read_baseline(file))
    assert verdict.gone == [CheckFinding(RULES, "a"), CheckFinding(SCHEMA, "GET /webmessages", "Timeout")]
    text = summary.format_screen(verdict, HEADING)
    assert "no longer found; remove from the baseline if fixed:\n   rules of web-messages: a\n   schema of web" in text
    verdict.results[0] = SuiteResult(RULES, error="ended with -9")
    assert verdict.gone == [CheckFinding(SCHEMA, "GET /webmessages", "Timeout")]
    verdict.is_interrupted = True
    assert verdict.gone == []


def test_baseline_has_no_secrets_and_a_stable_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    write_baseline(one, [fail("b s3cret"), fail("a")], lambda text: text.replace("s3cret", "$API_KEY"))
    write_baseline(two, [fail("a"), fail("b s3cret"), fail("a")], lambda text: text.replace("s3cret", "$API_KEY"))
    assert one.read_text() == two.read_text()
    assert "s3cret" not in one.read_text()


@pytest.mark.parametrize("text", ["", "[]", '{"findings": [{}]}', '{"findings": 5}', "{}"])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    file.write_text(text)
    with pytest.raises(BaselineError, match="is no baseline"):
        read_baseline(file)
    with pytest.raises(BaselineError, match="cannot be read"):
        read_baseline(tmp_path / "missing.json")
    with pytest.raises(BaselineError, match="cannot be written"):
        write_baseline(tmp_path / "missing" / "x.json", [], str)


@pytest.mark.parametrize("case", [OF_RECEIPTS["a receipt without a hash"]])
def test_check_with_a_baseline_fails_on_new_findings_only(
    case: Case, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert case.check is not None
    file = tmp_path / "known.json"
    check = Check(
        server.target(), find_spec_dir(), tmp_path / "report", (case.spec,), kinds=("rules",), start=WarmSuite
    )
    check = replace(check, only=(case.check,))
    assert run_check(replace(check, new_baseline=file)) == 0
    assert run_check(replace(check, baseline=read_baseline(file))) == 0
    assert capsys.readouterr().out.count("known failures, and no new ones") == 2
    assert run_check(replace(check, baseline=frozenset())) == 1
    assert "new failures" in capsys.readouterr().out
    assert "BREAKS the contract" in (tmp_path / "report" / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--write-baseline"], "--write-baseline needs --baseline"),
        (["--baseline", "missing.json"], "missing.json cannot be read"),
        (["--baseline", "x.json", "--fail-fast"], "--fail-fast cannot be combined with --baseline"),
    ],
)
def test_options_of_the_baseline_are_checked_before_anything_is_sent(options: list[str], words: str) -> None:
    result = CliRunner().invoke(contract_check, ["http://127.0.0.1:1", "--api-key", "k", *options])
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())
