"""`budkavle contract-check`: check whether a server keeps the contract."""

import importlib.util
import signal
import ssl
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
    from collections.abc import Callable

    from contract_tests.check import Progress
    from contract_tests.redacting import Redactor
    from contract_tests.suites import Check
    from contract_tests.tokens import TokenSource
    from contract_tests.verdict import CheckFinding, SuiteResult, Verdict

SYSTEM = "550e8400-e29b-41d4-a716-446655440000"
"""The system in the examples of the contract."""


@click.command("contract-check", epilog=list_documentation("how-to/contract-check.md", "reference/contract-check.md"))
@click.argument("base_url")
@click.option(
    "--spec",
    type=click.Choice(["web-messages", "subscriptions", "all", "web-messages-3.2", "oep-integrator-1.5"]),
    default="all",
    show_default=True,
    help="`all` are the first two; a compatibility API is checked only by name.",
)
@click.option("--api-key", envvar="BUDKAVLE_CHECK_API_KEY", show_envvar=True, help="The key for web messages.")
@click.option(
    "--publish-key",
    envvar="BUDKAVLE_CHECK_PUBLISH_KEY",
    show_envvar=True,
    help="For publishing events, if --api-key has no access to it.",
)
@click.option(
    "--token",
    metavar="TEXT|@FILE",
    envvar="BUDKAVLE_CHECK_TOKEN",
    show_envvar=True,
    help="An access token, for the rules of tokens, and in place of a key that is not given.",
)
@add_client_options
@click.option("--client-cert", type=FILE, help="PEM; for an http:// address it is sent in the header of a proxy.")
@click.option("--client-key", type=FILE, help="Its private key, if it is in a separate file.")
@click.option("--ca", type=FILE, help="The CA of the server's certificate.")
@click.option(
    "--system", default=SYSTEM, show_default=True, help="The system whose subscriptions are replaced during the check."
)
@click.option(
    "--case", type=click.IntRange(1, 2147483647), help="A test case in Open-E on which messages are published."
)
@click.option(
    "--municipality",
    default="2281",
    show_default=True,
    help="The municipality of the messages that the check of a compatibility API creates.",
)
@click.option("--profile", type=click.Choice(["quick", "full"]), default="quick", show_default=True)
@click.option(
    "--suite",
    "suites",
    type=click.Choice(["rules", "schema", "raw-bytes"]),
    multiple=True,
    help="Only this suite; may be repeated. Raw bytes belong to the full profile.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=20260301, show_default=True)
@click.option("--fail-fast", is_flag=True, help="End at the first failure.")
@click.option(
    "--report",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("contract-report"),
    show_default=True,
    metavar="DIR",
    help="The folder for JUnit XML, all failures and logs.",
)
@click.option(
    "--baseline",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Known findings, which do not fail the check; new ones do.",
)
@click.option("--write-baseline", is_flag=True, help="Write what is found to the file of --baseline, and do not fail.")
@click.option("--allow-host", metavar="NAME", help="Required for a server that is not on this machine.")
@click.pass_context
def contract_check(  # Each argument is an option of the command.
    context: click.Context,
    base_url: str,
    spec: str,
    api_key: str | None,
    publish_key: str | None,
    token: str | None,
    token_url: str | None,
    client_id: str | None,
    client_secret_file: Path | None,
    client_authentication: str,
    token_parameters: tuple[str, ...],
    client_cert: Path | None,
    client_key: Path | None,
    ca: Path | None,
    system: str,
    case: int | None,
    municipality: str,
    profile: str,
    suites: tuple[str, ...],
    seed: int,
    report: Path,
    baseline: Path | None,
    allow_host: str | None,
    *,
    fail_fast: bool,
    write_baseline: bool,
) -> None:
    """Check whether the server at BASE_URL keeps the contract.

    The check sends some thousand valid and invalid requests, and posts and deletes messages. Use a test server in front
    of a mock Open-E, since generated requests may name any case. Exit code: 0 if the server keeps the contract, 1 if it
    breaks it, 2 if the check could not run to its end or not clean up.
    """
    check_url(base_url, allow_host, "The check posts thousands of requests and replaces subscriptions", name="BASE_URL")
    if importlib.util.find_spec("schemathesis") is None or importlib.util.find_spec("pytest") is None:
        raise CannotCheck("this command needs more packages: pip install 'budkavle[contract]'")
    if client_key is not None and client_cert is None:
        raise click.BadParameter("is the key of --client-cert, which is missing", param_hint="--client-key")
    if write_baseline and baseline is None:
        raise click.UsageError("--write-baseline needs --baseline")
    if fail_fast and baseline is not None:
        raise click.UsageError(
            "--fail-fast cannot be combined with --baseline, since a known finding would end the check"
        )
    known = None if baseline is None or write_baseline else _read_known(baseline)
    from contract_tests.suites import KINDS, SPECS, Check
    from contract_tests.target import CheckTarget, read_certificate

    try:
        certificate = None if client_cert is None else read_certificate(client_cert, client_key)
    except (OSError, ValueError) as exc:
        raise click.BadParameter(f"{client_cert}: {exc}", param_hint="--client-cert") from exc
    trust = _create_tls_context(ca, client_cert if base_url.lower().startswith("https:") else None, client_key)
    target = CheckTarget(
        base_url.rstrip("/"),
        api_key=api_key,
        publish_key=publish_key or api_key,
        certificate=certificate,
        ca=None if ca is None else str(ca.resolve()),
        system=system.lower(),
        case=case,
        seed=seed,
        municipality=municipality,
    )
    specs = SPECS if spec == "all" else (spec,)
    chosen_profile: Literal["quick", "full"] = "full" if profile == "full" else "quick"
    check = Check(
        target,
        find_spec_dir(),
        report,
        specs,
        chosen_profile,
        suites or KINDS,
        fail_fast=fail_fast,
        baseline=known,
        new_baseline=baseline if write_baseline else None,
    )
    source = read_token_source(
        token, token_url, client_id, client_secret_file, client_authentication, token_parameters, trust
    )
    # Clean up on SIGTERM as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = run_check(check, source)
    except KeyboardInterrupt:
        # The interrupt arrived before anything was created, or during the clean-up.
        click.echo("interrupted", err=True)
        code = 128 + signal.SIGINT
    context.exit(code)


def _create_tls_context(ca: Path | None, client_cert: Path | None, client_key: Path | None) -> ssl.SSLContext:
    """Return the TLS context for the token endpoint. Raises `BadParameter` for an unusable file."""
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as exc:
        raise click.BadParameter(f"{ca} contains no certificate in PEM format", param_hint="--ca") from exc
    try:
        if client_cert is not None:
            # Without a password, OpenSSL would prompt for one.
            context.load_cert_chain(client_cert, client_key, password="")
    except (OSError, ValueError) as exc:
        raise click.BadParameter(f"cannot be used as a client certificate: {exc}", param_hint="--client-cert") from exc
    return context


def _read_known(file: Path) -> "frozenset[CheckFinding]":
    from contract_tests.baseline import BaselineError, read_baseline

    try:
        return read_baseline(file)
    except BaselineError as exc:
        raise click.BadParameter(str(exc), param_hint="--baseline") from exc


def _write_known(file: Path, verdict: "Verdict", redactor: "Redactor") -> None:
    """Write the findings of a check that ran to its end as a baseline, and treat them as known."""
    from contract_tests.baseline import BaselineError, write_baseline

    if verdict.is_interrupted or verdict.errors:
        return
    try:
        verdict.baseline = write_baseline(file, verdict.all_failures, redactor.text)
    except BaselineError as exc:
        raise CannotCheck(str(exc)) from None


def run_check(check: "Check", source: "TokenSource | None" = None) -> int:
    """Run a check, print and write what it found without secrets, and return the exit code.

    Raises CannotCheck if the target cannot be checked, KeyboardInterrupt if it is interrupted before the first suite.
    """
    from contract_tests.redacting import create_redactor
    from contract_tests.tokens import TokenError, Tokens

    if source is None:
        return _run_check(check)
    with tempfile.TemporaryDirectory(prefix="contract-check-") as folder:
        try:
            tokens = Tokens(Path(folder) / "tokens", source)
        except TokenError as exc:
            raise CannotCheck(create_redactor(check.target, source.secret).text(str(exc))) from None
        return _run_check(replace(check, target=replace(check.target, token_file=str(tokens.file)), tokens=tokens))


def _run_check(check: "Check") -> int:
    from contract_tests import check as checking
    from contract_tests import summary
    from contract_tests.redacting import create_redactor

    redactor = create_redactor(check.target, None if check.tokens is None else check.tokens.secret)

    def run(progress: "Progress", on_result: "Callable[[SuiteResult], None]") -> "Verdict":
        verdict = checking.run(check, progress, on_result)
        if check.new_baseline is not None:
            _write_known(check.new_baseline, verdict, redactor)
        return verdict

    return run_and_report(
        run,
        summary.describe_check(check),
        redactor,
        variables=summary.format_variables(check),
        # The file with the original subscriptions must stay unchanged.
        unchanged=(checking.BEFORE,),
    )
