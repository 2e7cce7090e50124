"""Add to bills of materials what this repository contains of others: `python -m tests.vendored_components FILE ...`."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

SWAGGER_UI = Path(__file__).parents[1] / "openapi" / "pages" / "swagger_ui"
SWAGGER_UI_VERSION = "5.35.0"


def describe_swagger_ui() -> dict[str, Any]:
    """Return Swagger UI as a component of CycloneDX, with the hashes of its files."""
    purl = f"pkg:npm/swagger-ui-dist@{SWAGGER_UI_VERSION}"
    return {
        "bom-ref": purl,
        "components": [
            {
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}],
                "name": path.name,
                "type": "file",
            }
            for path in sorted(SWAGGER_UI.iterdir())
        ],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "name": "swagger-ui-dist",
        "purl": purl,
        "type": "library",
        "version": SWAGGER_UI_VERSION,
    }


def add_components(path: Path) -> None:
    """Add the components to a bill of materials."""
    bill = json.loads(path.read_text())
    component = describe_swagger_ui()
    bill["components"].append(component)
    bill["dependencies"].append({"ref": component["bom-ref"]})
    path.write_text(json.dumps(bill, indent=2))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        add_components(Path(name))
