"""`budkavle receiver-check`: check whether a receiver of webhooks keeps the contract of deliveries."""

import signal
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from budkavle.commands.checking import FILE, CannotCheck, check_url, run_and_report
from budkavle.commands.contract_check_tokens import add_client_options, read_token_source
from budkavle.documentation import list_documentation
from budkavle.specs import find_spec_dir

if TYPE_CHECKING:
    from contract_tests.redacting import Redactor
    from receiver_tests.target import ReceiverCheck, ReceiverTarget

SUITES = ("deliveries", "repetitions", "signatures", "connections")


@click.command("receiver-check", epilog=list_documentation("how-to/receive-webhooks.md", "reference/receiver-check.md"))
@click.argument("url")
@click.option(
    "--secret",
    metavar="REFERENCE",
    help="The webhook secret, as in the catalogue: env:NAME or file:PATH. Without it deliveries are unsigned.",
)
@click.option(
    "--header",
    "headers",
    metavar="NAME=REFERENCE",
    multiple=True,
    help="A header for a gateway, as in the catalogue: X-Api-Key=env:NAME or file:PATH; may be repeated.",
)
@add_client_options
@click.option("--client-cert", type=FILE, help="PEM: the certificate that is presented to an https:// address.")
@click.option("--client-key", type=FILE, help="Its private key, if it is in a separate file.")
@click.option("--ca", type=FILE, help="The CA of the receiver's certificate.")
@click.option("--look", metavar="URL", help="Where the receiver lists the ids of the deliveries that it has done.")
@click.option(
    "--spec", type=FILE, help="Another version of the contract of deliveries, whose examples are sent.", metavar="FILE"
)
@click.option("--org-type", type=click.IntRange(0, 2147483647), default=1, show_default=True)
@click.option("--org-code", type=click.IntRange(-1, 99999999), default=101, show_default=True)
@click.option(
    "--entity-type",
    type=click.IntRange(0, 2147483647),
    default=202,
    show_default=True,
    help="With --org-type and --org-code the subscription of which the deliveries are.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 600),
    default=15,
    show_default=True,
    help="Seconds in which a receiver must answer: BUDKAVLE_DELIVERY_TIMEOUT of the service.",
)
@click.option("--profile", type=click.Choice(["quick", "full"]), default="quick", show_default=True)
@click.option("--suite", "suites", type=click.Choice(SUITES), multiple=True, help="Only this suite; may be repeated.")
@click.option("--case", "cases", metavar="NAME", multiple=True, help="Only this case; may be repeated.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=20260301, show_default=True)
@click.option("--fail-fast", is_flag=True, help="End at the first failure.")
@click.option(
    "--report",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("receiver-report"),
    show_default=True,
    metavar="DIR",
    help="The folder for JUnit XML, all failures and the bodies that were sent.",
)
@click.option("--allow-host", metavar="NAME", help="Required for a receiver that is not on this machine.")
@click.pass_context
def receiver_check(  # Each argument is an option of the command.
    context: click.Context,
    url: str,
    secret: str | None,
    headers: tuple[str, ...],
    token_url: str | None,
    client_id: str | None,
    client_secret_file: Path | None,
    client_authentication: str,
    token_parameters: tuple[str, ...],
    client_cert: Path | None,
    client_key: Path | None,
    ca: Path | None,
    look: str | None,
    spec: Path | None,
    org_type: int,
    org_code: int,
    entity_type: int,
    timeout: float,
    profile: str,
    suites: tuple[str, ...],
    cases: tuple[str, ...],
    seed: int,
    report: Path,
    allow_host: str | None,
    *,
    fail_fast: bool,
) -> None:
    """Check whether a receiver of webhooks keeps the contract.

    The check sends more than a hundred deliveries to URL, valid, repeated and forged, as the service would. Use a
    receiver for tests: it stores the valid ones. Exit code: 0 if the receiver keeps the contract, 1 if it breaks it, 2
    if the check could not run to its end.
    """
    consequences = "The check sends more than a hundred deliveries, which a receiver stores"
    check_url(url, allow_host, consequences, name="URL", may_have_query=True)
    if look is not None:
        check_url(look, allow_host, "The check reads a list from it", name="--look", may_have_query=True)
    if client_key is not None and client_cert is None:
        raise click.BadParameter("is the key of --client-cert, which is missing", param_hint="--client-key")
    from contract_tests.tokens import TokenError, Tokens
    from delivery.receivers import trust_ca
    from delivery.references import ReceiverMisconfigured
    from receiver_tests.cases import SUITES as CASES
    from receiver_tests.contract import NotAContract, read_examples
    from receiver_tests.sending import build_tls
    from receiver_tests.target import ReceiverCheck, ReceiverTarget, read_headers, read_secret

    unknown = set(cases) - {case.name for suite in suites or CASES for case in CASES[suite]}
    if unknown:
        place = f" in {' or '.join(suites)}" if suites else ""
        raise click.BadParameter(f"there is no case {min(unknown)!r}{place}", param_hint="--case")
    try:
        text, key = (None, None) if secret is None else read_secret(secret)
        examples = read_examples(spec or find_spec_dir() / "deliveries.yaml")
        target = ReceiverTarget(
            url,
            text,
            key,
            client_cert,
            client_key,
            ca,
            look,
            examples,
            org_type,
            org_code,
            entity_type,
            timeout,
            headers=read_headers(headers),
        )
        trust = build_tls(target) or (None if ca is None else trust_ca(f"file:{ca}"))
    except (ReceiverMisconfigured, NotAContract) as exc:
        raise CannotCheck(str(exc)) from exc
    source = read_token_source(
        None, token_url, client_id, client_secret_file, client_authentication, token_parameters, trust
    )
    if source is not None and any(header.name.lower() == "authorization" for header in target.headers):
        raise click.UsageError("--token-url and --header Authorization exclude each other")
    chosen: Literal["quick", "full"] = "full" if profile == "full" else "quick"
    # Report on SIGTERM as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="receiver-check-") as folder:
        if source is not None:
            try:
                target = replace(target, tokens=Tokens(Path(folder) / "tokens", source))
            except TokenError as exc:
                raise CannotCheck(_create_redactor(target, source.secret).text(str(exc))) from None
        check = ReceiverCheck(target, report, chosen, seed, suites, cases, fail_fast=fail_fast)
        context.exit(_run_check(check))


def _run_check(check: "ReceiverCheck") -> int:
    from contract_tests.summary import Heading
    from receiver_tests import check as checking
    from receiver_tests import reproducing

    target = check.target
    return run_and_report(
        lambda progress, on_result: checking.run(check, progress, on_result),
        Heading(
            target.url,
            check.profile,
            check.seed,
            check.report,
            reproducing.describe_variables(target, check.report),
            "Receiver check",
        ),
        _create_redactor(target, None if target.tokens is None else target.tokens.secret),
        variables=None if target.key is None else reproducing.VARIABLES,
    )


def _create_redactor(target: "ReceiverTarget", client_secret: str | None) -> "Redactor":
    from contract_tests.redacting import Redactor
    from contract_tests.tokens import read_tokens

    tokens = target.tokens
    return Redactor(
        [
            (target.secret, "$WEBHOOK_SECRET"),
            (None if target.key is None else target.key.hex(), "$WEBHOOK_KEY"),
            (client_secret, "$CLIENT_SECRET"),
            *((header.value, header.shell_word) for header in target.headers),
        ],
        tuple if tokens is None else lambda: read_tokens(tokens.file),
    )
