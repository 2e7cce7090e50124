"""The header `Link`, as RFC 8288 lets servers write it."""

import re
from urllib.parse import urljoin, urlsplit

import requests

_LINK = re.compile(r'\s*<([^>]*)>((?:"(?:[^"\\]|\\.)*"|[^",])*)(?:,|$)')
"""The place, and its parameters; a comma between quotes ends nothing."""
_PARAMETER = re.compile(r';\s*([^\s=;,"]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?')


def next_page(response: requests.Response) -> str | None:
    """Where the next page of a list begins: a path with its query. None after the last."""
    return next_place(response.headers.get("Link", ""), response.url)


def next_place(text: str, url: str) -> str | None:
    """The same by the header, empty where there is none, and by what was asked."""
    places = [place for place, relations in read_links(text) if "next" in relations]
    if not places:
        # Other links may be there at any time.
        return None
    assert len(places) == 1, f"there is one next page, but the Link was {text}"
    place = places[0]
    if re.match("/(?!/)", place):
        return place
    found, asked = urlsplit(urljoin(url, place)), urlsplit(url)
    # Nobody allowed another server; and a caller's key must not go there.
    assert (found.scheme, found.netloc) == (asked.scheme, asked.netloc), (
        f"the next page is at the server that was asked, {asked.scheme}://{asked.netloc}, but the Link was {text}"
    )
    return found._replace(scheme="", netloc="", fragment="").geturl()


def read_links(text: str) -> list[tuple[str, list[str]]]:
    """The places of a header `Link`, each with its relations in lower case."""
    links, at = [], 0
    while at < len(text):
        match = _LINK.match(text, at)
        assert match is not None, f'a Link is <place>; rel="next" (RFC 8288), but was {text}'
        parameters = [(name.lower(), quoted or plain) for name, quoted, plain in _PARAMETER.findall(match[2])]
        relations = next((value for name, value in parameters if name == "rel"), "")
        links.append((match[1], relations.lower().split()))
        at = match.end()
    return links
