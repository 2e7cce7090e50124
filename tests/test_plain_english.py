"""Docstrings and comments use the standard words of the field (style: plain English)."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest

from tests.processes import REPOSITORY

PACKAGES = (
    "benchmarks",
    "budkavle",
    "contract_tests",
    "delivery",
    "domain",
    "handlers",
    "mock_open_e",
    "oauth2",
    "open_e",
    "party_service",
    "openapi",
    "persistence",
    "receiver_tests",
)
EXEMPT = ("persistence/migrations/versions/",)
"""Prefixes of exempt paths: migrations are never edited."""
PEERS = "benchmarks/peers/"
"""Programs of their own, whose classes have the names of their frameworks' manuals."""

MAX_PER_10_000_WORDS = {
    "told, tell, tells": (re.compile(r"\b(told|tells?)\b", re.IGNORECASE), 4.0),
    "stand, stands": (re.compile(r"\bstands?\b", re.IGNORECASE), 3.5),
    "beside": (re.compile(r"\bbeside\b", re.IGNORECASE), 1.0),
    "nobody, somebody, whoever": (re.compile(r"\b(nobody|somebody|whoever)\b", re.IGNORECASE), 2.0),
    "sentences that begin with What, Who, That": (
        re.compile(r"(?:^|(?<=[.:;] ))(What|Who|That) [a-z]", re.MULTILINE),
        6.0,
    ),
}
MIN_RETURNS_PER_10_000_WORDS = 30.0
MAX_CLASSES_OF_A_NAME = 2
MIN_WORDS = 2000
"""Below this number of words one sentence exceeds a limit, so a small package is allowed one match of each kind."""

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_COMMENT = re.compile(r"(?:^|\s)# ?(.*)")


@dataclass(frozen=True)
class SourceFile:
    """The texts and names of a file.

    `docstrings` are those of modules, classes, functions and assignments; `remarks` are blocks of comment
    lines; `names` are those of all classes and functions, `classes` those of the classes of the module itself.
    """

    docstrings: list[str]
    remarks: list[str]
    names: list[str]
    classes: list[str]


@cache
def read_file(path: Path) -> SourceFile:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    documented = [node for node in (tree, *iterate_statements(tree)) if isinstance(node, _DOCUMENTED)]
    return SourceFile(
        docstrings=[text for node in documented for text in iterate_docstrings(node)],
        remarks=list(iterate_comments(source)),
        names=[node.name for node in documented if not isinstance(node, ast.Module)],
        classes=[node.name for node in tree.body if isinstance(node, ast.ClassDef)],
    )


def list_files(package: str) -> list[Path]:
    files = sorted((REPOSITORY / package).rglob("*.py"))
    return [file for file in files if not file.relative_to(REPOSITORY).as_posix().startswith(EXEMPT)]


def iterate_statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all statements in a node, without their expressions, which are ten times as many."""
    for name in ("body", "handlers", "orelse", "finalbody", "cases"):
        for child in getattr(node, name, ()):
            yield child
            yield from iterate_statements(child)


def iterate_docstrings(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for place, statement in enumerate(node.body):
        is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        documents = place == 0 or isinstance(node.body[place - 1], ast.Assign | ast.AnnAssign)
        if is_text and documents and isinstance(statement.value.value, str):
            yield statement.value.value


def iterate_comments(source: str) -> Iterator[str]:
    """Yield blocks of comment lines, each as one text. Lines of strings that look like comments are included."""
    matches = enumerate(map(_COMMENT.search, source.splitlines()))
    found = [(number, match[1].lstrip("# ")) for number, match in matches if match]
    # Lines that follow each other differ from their places in the list by the same number.
    for _, block in groupby(enumerate(found), lambda each: each[1][0] - each[0]):
        yield "\n".join(text for _, (_, text) in block)


def count_words(texts: list[str]) -> int:
    return sum(len(re.findall(r"[A-Za-z][\w'-]*", text)) for text in texts)


def find_excess(documentation: list[str], remarks: list[str]) -> list[str]:
    """Return the limits that these docstrings and comments exceed, each with the matches."""
    texts = [*documentation, *remarks]
    words = count_words(texts)
    excess = []
    for name, (pattern, limit) in MAX_PER_10_000_WORDS.items():
        found = [line for text in texts for line in text.splitlines() if pattern.search(line)]
        if len(found) > max(1.0 if words < MIN_WORDS else 0.0, limit * words / 10_000):
            excess.append(f"{name}: {len(found)} in {words} words, at most {limit} per 10,000: {found}")
    returns = sum(len(re.findall(r"\breturns?\b", text, re.IGNORECASE)) for text in documentation)
    least = MIN_RETURNS_PER_10_000_WORDS * count_words(documentation) / 10_000
    if returns < least:
        excess.append(f"return: {returns} in docstrings, at least {least:.0f}: say what functions return")
    return excess


@pytest.mark.parametrize("package", [*PACKAGES, "tests"])
def test_texts_of_a_package_use_standard_words(package: str) -> None:
    files = [read_file(path) for path in list_files(package)]
    documentation = [text for file in files for text in file.docstrings]
    remarks = [text for file in files for text in file.remarks]
    assert find_excess(documentation, remarks) == []


def test_find_excess_reports_each_limit() -> None:
    riddles = [
        "What was told beside it.",
        "Nobody knows: who stands where is told.",
        "Return nothing. Who asks is told by somebody.",
    ] * 40
    found = find_excess(riddles, [])
    assert [line.split(":")[0] for line in found] == list(MAX_PER_10_000_WORDS)
    assert find_excess(["Count the words."] * 1000, []) == [
        "return: 0 in docstrings, at least 9: say what functions return"
    ]


AMERICAN = re.compile(r"(?:summari|normali|canonicali|recogni|organi|minimi|optimi|initiali)z", re.IGNORECASE)
"""The spelling that names of our own do not have. `Authorization` is a name of HTTP."""


@pytest.mark.parametrize("package", [*PACKAGES, "tests"])
def test_names_have_british_spelling(package: str) -> None:
    """No word is spelled in two ways, so that a search for a name finds it."""
    for path in list_files(package):
        for name in read_file(path).names:
            assert not AMERICAN.search(name), f"{path.relative_to(REPOSITORY)}: {name}"


def test_public_class_names_are_unique() -> None:
    files_by_name = defaultdict(list)
    for package in PACKAGES:
        for file in list_files(package):
            path = file.relative_to(REPOSITORY).as_posix()
            for name in read_file(file).classes:
                if not name.startswith("_") and not path.startswith(PEERS):
                    files_by_name[name].append(path)
    repeated = {name: paths for name, paths in files_by_name.items() if len(paths) > MAX_CLASSES_OF_A_NAME}
    assert repeated == {}
