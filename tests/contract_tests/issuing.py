"""Run the issuer of the demo, whose tokens the service accepts if it reads the file of issuers."""

from collections.abc import Iterator
from contextlib import contextmanager

from budkavle.clock import now
from budkavle.demo.issuer import PATH, DemoIssuer
from budkavle.demo.receiver import create_receiver
from budkavle.settings import Settings
from conftest import running_server


@contextmanager
def running_issuer(issuer: DemoIssuer) -> Iterator[str]:
    """Yield the URL of its token endpoint."""
    with running_server(Settings(), issuer.create_application(create_receiver(now)), is_service=False) as url:
        yield f"{url}{PATH}"
