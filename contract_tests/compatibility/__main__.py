"""Check that the contracts in a repository keep the published and released ones. Exits with 1 if not, 2 on errors."""

import sys
from collections.abc import Sequence
from pathlib import Path

from contract_tests.compatibility.guard import ContractVerdict, compare_contracts
from contract_tests.compatibility.listed import TABLE_HEADER, BadList


def main(arguments: Sequence[str]) -> int:
    """Compare and print. The only argument is the repository; it defaults to the working directory."""
    repository = Path(arguments[0]) if arguments else Path()
    try:
        compared = list(compare_contracts(repository))
    except (OSError, BadList) as error:
        sys.stderr.write(f"The contracts cannot be compared: {error}\n")
        return 2
    broken = [verdict for verdict in compared if not verdict.keeps]
    if broken:
        sys.stdout.write("\n".join(line for verdict in broken for line in report(verdict)))
        return 1
    intended = sum(verdict.listed for verdict in compared)
    sys.stdout.write(f"Contracts: all that was published or released is kept, but for {intended} listed differences.\n")
    return 0


def report(verdict: ContractVerdict) -> list[str]:
    """Return lines that list the problems of a contract and their remedies."""
    baseline = verdict.baseline
    lines = [f"spec/{verdict.contract}.yaml, compared with {baseline.words} ({baseline.folder}):"]
    if verdict.unlisted:
        lines += [f"  {line}" for line in verdict.unlisted]
        lines.append(
            f"List the intended ones in {baseline.page}, in a table {TABLE_HEADER}"
            f" under a heading with `spec/{verdict.contract}.yaml`, and fix the rest."
        )
    if verdict.outdated:
        lines += [f"  {line}" for line in verdict.outdated]
        lines += [f"This is listed in {baseline.page}, but it is no difference now, or it is listed twice."]
    return [*lines, ""]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
