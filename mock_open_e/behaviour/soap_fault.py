"""The exception that becomes a SOAP fault."""

from mock_open_e.behaviour.journal import Refusal


class SoapFault(Exception):
    """A SOAP fault: `code` without prefix, `text`, and the name of the declared fault in its detail.

    `refusal` explains in plain words what was received and what would have been accepted.
    """

    def __init__(
        self, text: str, *, code: str = "Server", detail: str | None = None, received: str = "", accepted: str = ""
    ) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.detail = detail
        self.refusal = Refusal(received or text, accepted)
