"""The files of Swagger UI are those of its release.

The notices in `swagger-ui-bundle.js.LICENSE.txt` lack one address, that of the licence of regenerator-runtime, because
no file of this repository names the address of a package. Its copyright and the MIT licence are in the same file.

To update: `npm pack swagger-ui-dist@VERSION`, copy the files that `HASHES` lists, and change the hashes here, and
the version in `vendored_components.py` and docs/decisions/0006-libraries.md.
"""

import hashlib

import pytest

from tests.processes import REPOSITORY
from tests.vendored_components import SWAGGER_UI, SWAGGER_UI_VERSION

HASHES = {
    "LICENSE": "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
    "NOTICE": "0d20d1adef18aee3f40dd258172155521ce702ac445cb5f7b7d60ed32dad2fb2",
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui-bundle.js.LICENSE.txt": "8ef9813305cbf684ba7bcd2704e4d1d238f2d095d536f4f30a809d6396fa1bee",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}


@pytest.mark.parametrize("name", HASHES)
def test_file_is_unchanged(name: str) -> None:
    assert hashlib.sha256((SWAGGER_UI / name).read_bytes()).hexdigest() == HASHES[name]


def test_folder_has_no_other_files_and_the_version() -> None:
    assert {path.name for path in SWAGGER_UI.iterdir()} == set(HASHES)
    assert SWAGGER_UI_VERSION.encode() in (SWAGGER_UI / "swagger-ui-bundle.js").read_bytes()
    assert f"Swagger UI {SWAGGER_UI_VERSION}," in (REPOSITORY / "docs" / "decisions" / "0006-libraries.md").read_text()
