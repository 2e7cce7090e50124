"""Write the results of a suite as JUnit XML, which CI systems show."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from contract_tests.verdict import Failure

_NOT_OF_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class CaseResult:
    """The result of one case: at most one of `failure`, `left_out` and `error` is set."""

    name: str
    seconds: float
    failure: Failure | None = None
    left_out: str | None = None
    error: str | None = None


def write_junit(path: Path, suite: str, results: Sequence[CaseResult]) -> None:
    """Write the results of the cases of a suite to a file."""
    root = ET.Element("testsuites")
    counts = {
        "tests": len(results),
        "failures": sum(result.failure is not None for result in results),
        "errors": sum(result.error is not None for result in results),
        "skipped": sum(result.left_out is not None for result in results),
    }
    values = {name: str(count) for name, count in counts.items()}
    seconds = f"{sum(result.seconds for result in results):.3f}"
    element = ET.SubElement(root, "testsuite", {"name": suite, "time": seconds, **values})
    for result in results:
        case = ET.SubElement(
            element, "testcase", {"classname": suite, "name": result.name, "time": f"{result.seconds:.3f}"}
        )
        if result.failure is not None:
            failure = ET.SubElement(case, "failure", {"message": _clean(result.failure.words)})
            failure.text = _clean("\n".join([result.failure.words, "Reproduce with:", *result.failure.lines]))
        if result.error is not None:
            ET.SubElement(case, "error", {"message": _clean(result.error)})
        if result.left_out is not None:
            ET.SubElement(case, "skipped", {"message": _clean(result.left_out)})
    ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _clean(text: str) -> str:
    """Return a text without characters that XML does not allow."""
    return _NOT_OF_XML.sub("\ufffd", text)
