"""The register of personal data has every table and every column, so that new ones are decided."""

import re

from persistence.tables import metadata
from tests.processes import REPOSITORY

PAGE = (REPOSITORY / "docs" / "reference" / "personal-data.md").read_text()


def read_register() -> dict[str, tuple[list[str], list[str], str, str]]:
    """Return by table the columns with personal data and the others, and the last two cells: kept, and erased by."""
    section = PAGE.split("\n## Tables\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("| `")]
    assert {len(row) for row in rows} == {6}
    found = {}
    for table, personal, _, others, kept, erased in rows:
        columns = (re.findall(r"`(\w+)`", personal), re.findall(r"`(\w+)`", others))
        found[table.strip("`")] = (*columns, kept, erased)
    return found


def test_register_has_every_column_of_every_table_once() -> None:
    stored = {table.name: sorted(column.name for column in table.columns) for table in metadata.sorted_tables}
    register = {name: sorted(personal + others) for name, (personal, others, _, _) in read_register().items()}
    assert register == stored, "decide whether new columns are personal data, and name them in the register"


def test_register_says_how_long_personal_data_is_kept_and_how_it_is_erased() -> None:
    silent = [
        name for name, (personal, _, kept, erased) in read_register().items() if personal and not (kept and erased)
    ]
    assert silent == []


def test_register_names_settings_that_exist() -> None:
    settings = (REPOSITORY / "docs" / "reference" / "settings.md").read_text()
    patterns = re.findall(r"`(BUDKAVLE_[A-Z_…]+)`", PAGE)
    missing = [each for each in patterns if not re.search(rf"`{each.replace('…', '[A-Z]+')}`", settings)]
    assert (missing, len(patterns) > 5) == ([], True)
