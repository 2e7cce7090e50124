"""Generate clients with openapi-python-client, as a team would."""

import importlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import inflection
import yaml

from tests.installations import make_once
from tests.processes import REPOSITORY
from tests.shown_commands import PATH, read_block, read_block_in

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
SECONDS = 120
GUIDE = "docs/how-to/generate-a-client.md"


def run_generator(spec: Path, project: Path) -> str:
    """Create a project from a contract, as the guide says, and return the generator's output. Warnings are errors."""
    places = {"spec/web-messages.yaml": str(spec), "web-messages-client": str(project)}
    guide = shlex.split(read_block(GUIDE, "openapi-python-client"))
    assert set(places) < set(guide)
    options = ["--fail-on-warning"]
    if "application/yaml" in spec.read_text():
        config = project.with_name(f"{project.name}-generator.yaml")
        config.write_text(read_block_in(GUIDE, "yaml"))
        options += ["--config", str(config)]
    result = subprocess.run(
        [*(places.get(word, word) for word in guide), *options],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        # It calls ruff by name to format what it has written.
        env={**os.environ, "PATH": PATH},
    )
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    return output


@dataclass(frozen=True)
class Generated:
    """The generated package of a contract, and the output of the generator."""

    contract: str
    package: Path
    output: str

    @cached_property
    def spec(self) -> dict[str, Any]:
        value: dict[str, Any] = yaml.safe_load((REPOSITORY / "spec" / f"{self.contract}.yaml").read_text())
        return value

    @cached_property
    def models(self) -> Any:
        return self.module("models")

    @cached_property
    def types(self) -> Any:
        return self.module("types")

    def module(self, name: str) -> ModuleType:
        return importlib.import_module(f"{self.package.name}.{name}")

    def operations(self) -> dict[str, dict[str, Any]]:
        """Return the operations of the contract by id."""
        return {
            operation["operationId"]: operation
            for methods in self.spec["paths"].values()
            for method, operation in methods.items()
            if method in METHODS
        }

    def operation(self, operation_id: str) -> ModuleType:
        """Import the generated module of an operation."""
        tag = inflection.underscore(self.operations()[operation_id]["tags"][0])
        return self.module(f"api.{tag}.{inflection.underscore(operation_id)}")

    def declared_response(self, operation_id: str, status: int) -> dict[str, Any]:
        """Return the declaration of a response in the contract."""
        node: dict[str, Any] = self.operations()[operation_id]["responses"][str(status)]
        if "$ref" in node:
            node = self.spec["components"]["responses"][node["$ref"].rpartition("/")[2]]
        return node

    def caller(
        self,
        url: str,
        token: str = "",
        header: str = "apikey",
        change: Callable[[httpx.Request], None] | None = None,
        **arguments: Any,
    ) -> Any:
        """Return a client that sends its token in a header; `change` may modify each request."""
        if change is not None:
            arguments["event_hooks"] = {"request": [change]}
        return self.module("client").AuthenticatedClient(
            base_url=url,
            token=token,
            prefix="",
            auth_header_name=header,
            # Callers are created for one call, so their connections must not remain open.
            headers={"Connection": "close"},
            timeout=httpx.Timeout(60),
            raise_on_unexpected_status=True,
            httpx_args={"trust_env": False, **arguments},
        )


def generate_client(contract: str) -> Generated:
    """Generate the client of a contract, if the same was not done before, and add its folder to the import path."""
    spec = REPOSITORY / "spec" / f"{contract}.yaml"

    def generate(folder: Path) -> None:
        (folder / "output.txt").write_text(run_generator(spec, folder / contract))

    versions = [metadata.version(name) for name in ("openapi-python-client", "ruff")]
    files = [spec, REPOSITORY / GUIDE, REPOSITORY / "requirements" / "dev.txt", Path(__file__)]
    texts = [sys.version, *versions, contract, *(file.read_text() for file in files)]
    folder = make_once("client", json.dumps(texts).encode(), generate)
    project = folder / contract
    sys.path.insert(0, str(project))
    (package,) = project.glob("*_client")
    return Generated(contract, package, (folder / "output.txt").read_text())


def as_text(request: httpx.Request) -> None:
    """Declare a body as text, which a generated client never does itself."""
    request.headers["Content-Type"] = "text/plain"


def read_next_page(response: Any) -> str:
    """Return the value of `after` in the `Link` header of a page."""
    link = httpx.Response(200, headers=response.headers).links["next"]
    return httpx.URL(link["url"]).params["after"]
