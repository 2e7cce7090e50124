"""The header `Link` in the notations of different servers."""

import pytest
import requests

from contract_tests.links import next_page, read_links

ASKED = "http://service.test:8080/api/list?limit=1"
NEXT = "/api/list?after=2&limit=1"


def build_response(link: str | None) -> requests.Response:
    response = requests.Response()
    response.url = ASKED
    response.headers.update({} if link is None else {"link": link})
    return response


@pytest.mark.parametrize(
    "link",
    [
        f'<{NEXT}>; rel="next"',
        f"<{NEXT}>;rel=next",
        f'<{NEXT}> ; REL = "prefetch NEXT"',
        f'<http://service.test:8080{NEXT}>; rel="next"',
        f'<//service.test:8080{NEXT}>; rel="next"',
        '<?after=2&limit=1>; rel="next"',
        f'</api/list>; rel="first", <{NEXT}>; title="a, <b>; rel=last \\" "; rel="next", </api/list?x>; rel=last',
    ],
)
def test_next_page_is_found_in_every_notation(link: str) -> None:
    """RFC 8288: an absolute or relative URL, among other links, with other parameters."""
    assert next_page(build_response(link)) == NEXT


@pytest.mark.parametrize("link", [None, "", '</api/list>; rel="first"', '</api/list>; title="rel=next"', "</api/list>"])
def test_missing_link_means_no_next_page(link: str | None) -> None:
    assert next_page(build_response(link)) is None


@pytest.mark.parametrize("link", ["/api/list?after=2", "after=2; rel=next", '<unended; rel="next"'])
def test_invalid_link_is_reported(link: str) -> None:
    with pytest.raises(AssertionError, match="RFC 8288"):
        next_page(build_response(link))


@pytest.mark.parametrize("place", ["https://service.test:8080/api/list", "http://elsewhere.test/", "//elsewhere.test/"])
def test_next_page_of_another_server_is_not_requested(place: str) -> None:
    with pytest.raises(AssertionError, match="at the server that was asked"):
        next_page(build_response(f'<{place}>; rel="next"'))


def test_two_next_pages_are_reported() -> None:
    with pytest.raises(AssertionError, match="one next page"):
        next_page(build_response("<?after=2>; rel=next, <?after=3>; rel=next"))


def test_brackets_in_links_are_parsed() -> None:
    assert read_links('</a;b,c?d="e">; rel="next last"') == [('/a;b,c?d="e"', ["next", "last"])]
