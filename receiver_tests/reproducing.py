"""Write shell commands that send the requests of a case again, each with a new timestamp and signature."""

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from contract_tests.curl import quote_url, save_body
from contract_tests.summary import VARIABLES_FILE
from receiver_tests.deliveries import OTHER_SECRET, Delivery
from receiver_tests.target import ReceiverTarget

MAX_COMMANDS = 12
"""Maximum commands per failure. The earlier requests are only counted."""

VARIABLES = """# sign SECRET ID TIMESTAMP FILE: print the signature of a delivery, without "v1,".
sign() {
    key=${1#whsec_}
    while [ $((${#key} % 4)) -ne 0 ]; do key="$key="; done
    key=$(printf %s "$key" | openssl base64 -d -A | od -An -vtx1 | tr -d ' \\n')
    { printf '%s.%s.' "$2" "$3"; cat "$4"; } |
        openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A
}
"""
"""Shell code that defines the function of the commands."""


def describe_variables(target: ReceiverTarget, report: Path) -> str:
    """Return the sentence that explains how to prepare a shell for the commands."""
    names = [header.reference.removeprefix("env:") for header in target.headers if header.reference.startswith("env:")]
    names += [] if target.tokens is None else ["TOKEN"]
    if target.key is None:
        return f"Before you paste a line, set {' and '.join(names)}." if names else "The commands need no variables."
    return (
        f"Before you paste a line, set {' and '.join(['WEBHOOK_SECRET', *names])}, and run: . {report / VARIABLES_FILE}"
    )


def format_commands(sent: Sequence[Delivery], target: ReceiverTarget, report: Path) -> list[str]:
    """Return one shell command per request, in order. The bodies are saved in the report."""
    commands = [_format_command(delivery, target, report) for delivery in sent[-MAX_COMMANDS:]]
    omitted = len(sent) - len(commands)
    return [f"# {omitted} calls before these are left out", *commands] if omitted else commands


def _format_command(delivery: Delivery, target: ReceiverTarget, report: Path) -> str:
    words = ["curl -sS -i --path-as-is", *_tls_options(target), *_credential_options(target)]
    if delivery.method != "POST":
        words.append("--head" if delivery.method == "HEAD" else f"-X {delivery.method}")
        return " ".join([*words, quote_url(target.url)])
    file = shlex.quote(str(save_body(delivery.body, report)))
    words += [
        item
        for name, text in _headers(delivery, file, signs=target.key is not None)
        for item in ("-H", f'"{name}: {text}"')
    ]
    if delivery.pieces > 1:
        words.append(f"--limit-rate {max(1, len(delivery.body))}")
    body = delivery.body if delivery.sent_body is None else delivery.sent_body
    words += ["--data-binary", f"@{shlex.quote(str(save_body(body, report)))}", quote_url(target.url)]
    return f"{_set_timestamp(delivery)}; {' '.join(words)}"


def _set_timestamp(delivery: Delivery) -> str:
    if delivery.timestamp is not None:
        return f"t={shlex.quote(delivery.timestamp)}"
    return f"t=$(($(date +%s) + {delivery.offset}))" if delivery.offset else "t=$(date +%s)"


def _headers(delivery: Delivery, file: str, *, signs: bool) -> Iterable[tuple[str, str]]:
    """Yield the names and values of the headers, as text within double quotes of a shell."""
    values = {
        "Content-Type": "application/json",
        "webhook-id": delivery.sent_id or delivery.id,
        "webhook-timestamp": f"$((t + {delivery.shift}))" if delivery.shift else "$t",
        **delivery.headers,
    }
    if signs:
        forms = []
        for form in delivery.forms:
            secret = OTHER_SECRET if form.uses_other_secret else '"$WEBHOOK_SECRET"'
            forms.append(form.shell.replace("SIGN", f'sign {secret} {delivery.id} "$t" {file}'))
        values["webhook-signature"] = " ".join(forms)
    return [(name, text) for name, text in values.items() if name not in delivery.without]


def _credential_options(target: ReceiverTarget) -> Iterable[str]:
    for header in target.headers:
        yield f'-H "{header.name}: {header.shell_word}"'
    if target.tokens is not None:
        yield '-H "Authorization: Bearer $TOKEN"'


def _tls_options(target: ReceiverTarget) -> Iterable[str]:
    files = {"--cacert": target.ca, "--cert": target.certificate, "--key": target.certificate_key}
    return [f"{option} {shlex.quote(str(path.resolve()))}" for option, path in files.items() if path is not None]
