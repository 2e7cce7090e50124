"""Run a real nginx with TLS in front of a service, configured as docs/how-to/proxies.md and upgrade.md say."""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.processes import REPOSITORY, Process
from tests.shown_commands import read_block_in

GUIDE = (REPOSITORY / "docs" / "how-to" / "proxies.md").read_text()


def block(language: str) -> str:
    """Return the only example of the guide in a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    return str(found)


def _find_nginx() -> str:
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("nginx is not installed")
    return found


def _build_javascript(nginx: str, folder: Path) -> str:
    """Return the configuration that loads nginx's JavaScript module and our script."""
    result = subprocess.run([nginx, "-V"], capture_output=True, text=True, check=True)
    path = re.search(r"--modules-path=(\S+)", result.stderr)
    module = Path(path[1] if path else "/usr/lib/nginx/modules") / "ngx_http_js_module.so"
    if not module.exists():
        pytest.skip("nginx's JavaScript module is not installed")
    (folder / "client_cert.js").write_text(block("js"))
    return f"load_module {module};"


@contextmanager
def nginx_before(
    url: str,
    tls: dict[str, Path] | None,
    folder: Path,
    *more_urls: str,
    javascript: bool = False,
    base_path: str = "",
    rewrites_locations: bool = False,
) -> Iterator[str]:
    """Yield the base URL of the services behind nginx, which balances between several.

    With `javascript` it writes RFC 9440; without `tls` it forwards the callers' own headers. The services do not know
    the `base_path`; with `rewrites_locations` nginx adds it to their locations.
    """
    nginx = _find_nginx()
    load, setup = "", ""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = block("nginx")
        if javascript:
            load = _build_javascript(nginx, folder)
            (setup,) = re.findall(r"`(js_import .*?;)`", GUIDE)
            (line,) = re.findall(r"`(proxy_set_header Client-Cert \$client_cert;)`", GUIDE)
            server = server.replace("proxy_set_header Client-Cert $ssl_client_escaped_cert;", line)
        places = {"listen 443 ssl": f"listen 127.0.0.1:{port} ssl", "http://127.0.0.1:8080": url}
        if tls is None:
            server = re.sub(r"\n *(ssl_|proxy_set_header Client-Cert).*", "", server)
            places["listen 443 ssl"] = f"listen 127.0.0.1:{port}"
        else:
            places["/etc/nginx/service.pem"] = str(tls["tls_cert"])
            places["/etc/nginx/service.key"] = str(tls["tls_key"])
            places["/etc/nginx/clients-ca.pem"] = str(tls["client_ca"])
        if more_urls:
            upstream = read_block_in("docs/how-to/upgrade.md", "nginx")
            first, *_ = re.findall(r"^ *server 127\.0\.0\.1:8080.*;$", upstream, re.MULTILINE)
            servers = [first.replace("127.0.0.1:8080", urlsplit(one).netloc) for one in (url, *more_urls)]
            setup += re.sub(r"\{.*\}", "{" + "\n".join(servers) + "}", upstream, flags=re.DOTALL)
            places["http://127.0.0.1:8080"] = "http://budkavle"
        if base_path:
            # Do not use `proxy_pass` with a path, which would decode `%2F` to `/`: forward the path below it unchanged.
            setup += f"map $request_uri $below {{ ~^{base_path}(?<rest>/.*)$ $rest; }}\n"
            places["location /"] = f"location {base_path}/"
            places["http://127.0.0.1:8080"] += "$below"
        if rewrites_locations:
            places["proxy_http_version"] = f"proxy_redirect / {base_path}/; proxy_http_version"
        for written, here in places.items():
            assert written in server
            server = server.replace(written, here)
        paths = [f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
        (folder / "nginx.conf").write_text(
            f"{load}\ndaemon off; worker_processes 1; pid {folder}/pid; error_log stderr;\n"
            f"user {pwd.getpwuid(os.getuid()).pw_name};\nevents {{}}\n"
            f"http {{ access_log off; {' '.join(paths)}\n{setup}\n{server} }}\n"
        )
        # nginx inherits the listening socket, so the test need not wait for it.
        environment = {**os.environ, "NGINX": f"{listener.fileno()};"}
        arguments = [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
        process = Process(arguments, environment, fds=(listener.fileno(),))
    try:
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{port}{base_path}"
        process.send(signal.SIGQUIT)
        assert process.wait() == 0
    except BaseException:
        # Killed, it would leave its worker, which keeps the output open.
        process.send(signal.SIGTERM)
        process.wait()
        raise
    finally:
        process.end()
        process.show()
