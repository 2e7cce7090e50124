"""The municipality in the path of a request."""

from domain.municipalities import VALID_IDS
from handlers.requests import Request


def read_municipality_id(request: Request) -> str:
    """Return the municipality of a request. An invalid one is a violation, which the request has already.

    Raises `MunicipalityNotServed`.
    """
    municipality_id: str = request.parameters.get("municipalityId", "")
    if municipality_id in VALID_IDS:
        request.services.municipalities.check(municipality_id)
    return municipality_id
