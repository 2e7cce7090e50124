"""Run `budkavle receiver-check` in this process, and serve lists of deliveries to it."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from budkavle.commands.cli import main
from tests.webhook_receivers import SECRET


def run_check(url: str, folder: Path, *options: str, secret: str | None = SECRET) -> Result:
    """Run the command on a receiver; the report is in `report` below the folder. Its output is shown on failure."""
    signed = () if secret is None else ("--secret", "env:RECEIVER_SECRET")
    arguments = ["receiver-check", url, *signed, "--report", str(folder / "report"), *options]
    result = CliRunner().invoke(main, arguments, env={"RECEIVER_SECRET": secret})
    print(result.output)  # noqa: T201  # pytest shows it.
    return result


@contextmanager
def serving_list(list_done: Callable[[], Any]) -> Iterator[str]:
    """Yield the URL of a list of the deliveries that a receiver has done."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(list_done()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/done"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
