"""Parse the header `Link` as specified by RFC 8288."""

import re
from urllib.parse import urljoin, urlsplit

import requests

_LINK = re.compile(r'\s*<([^>]*)>((?:"(?:[^"\\]|\\.)*"|[^",])*)(?:,|$)')
"""The target and its parameters. A comma within quotes does not end the link."""
_PARAMETER = re.compile(r';\s*([^\s=;,"]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?')


def next_page(response: requests.Response) -> str | None:
    """Return the path and query of the next page of a list, or None after the last page."""
    return next_place(response.headers.get("Link", ""), response.url)


def next_place(text: str, url: str) -> str | None:
    """Return the next page from the text of a `Link` header ("" if absent) and the URL of the request."""
    places = [place for place, relations in read_links(text) if "next" in relations]
    if not places:
        # Servers may send other links at any time.
        return None
    assert len(places) == 1, f"there is one next page, but the Link was {text}"
    place = places[0]
    if re.match("/(?!/)", place):
        return place
    found, asked = urlsplit(urljoin(url, place)), urlsplit(url)
    # Do not send the caller's key to another server.
    assert (found.scheme, found.netloc) == (asked.scheme, asked.netloc), (
        f"the next page is at the server that was asked, {asked.scheme}://{asked.netloc}, but the Link was {text}"
    )
    return found._replace(scheme="", netloc="", fragment="").geturl()


def read_links(text: str) -> list[tuple[str, list[str]]]:
    """Return the targets in a `Link` header, each with its relations in lower case."""
    links, at = [], 0
    while at < len(text):
        match = _LINK.match(text, at)
        assert match is not None, f'a Link is <place>; rel="next" (RFC 8288), but was {text}'
        parameters = [(name.lower(), quoted or plain) for name, quoted, plain in _PARAMETER.findall(match[2])]
        relations = next((value for name, value in parameters if name == "rel"), "")
        links.append((match[1], relations.lower().split()))
        at = match.end()
    return links
