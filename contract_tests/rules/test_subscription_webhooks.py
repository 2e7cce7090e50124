"""webhookUrl is an absolute path (RFC 3986, section 3.3) below the base URL, which only the operator configures."""

import pytest

from contract_tests.api import Api
from contract_tests.rules.subscription_sets import WEBHOOK, counts, entries, expect_refused, webhooks

pytestmark = pytest.mark.needs("certificate", "system", "allowed")

GOOD = [
    *(
        "/",
        "/webhook",
        "/webhook/",
        "/a/b/c/d/e/",
        "/A-Z_a.z~0",
        "/...",
        "/.../",
        "/.well-known/x",
        "/a..b",
        "/..a/a..",
    ),
    *("/a;b=c,d@e:f!$&'()*+=", "/%20", "/a%20b", "/%C3%A5", "/%c3%a5", "/%3F%23", "/%25", "/%7e/%2Ea", "/%2E%2E%2E"),
    "/" + "a" * 1023,
]
BAD = [
    *("", "webhook", "a/b", "https://example.test/x", "//example.test/x", "//", "/a//b", "/a//", "\\a", "/a\\b", " /a"),
    *("/a b", "/a\n", "/a\0", "/\t", "/å", "/😀", "/a?", "/a?b=c", "/a#", "/a#b", "/?", "/a|b", "/a^b", '/a"b', "/<a>"),
    *(
        "/[a]",
        "/{a}",
        "/`",
        "/%",
        "/%2",
        "/%zz",
        "/%%",
        "/.",
        "/./",
        "/..",
        "/../",
        "/a/.",
        "/a/..",
        "/a/./b",
        "/a/../b",
    ),
    *("/%2e", "/%2E/", "/%2e%2e", "/%2E%2e/a", "/.%2e", "/%2E.", "/a/%2e%2E/b", "/a%2Fb", "/%2f", "/a%5Cb", "/%5c"),
    *("/%00", "/%0A", "/%0d", "/%1f", "/%7F", "/" + "a" * 1024),
]


def test_valid_paths_are_stored_unchanged(own_set: Api) -> None:
    wanted = [entry | {"webhookUrl": path} for entry, path in zip(entries(own_set, len(GOOD)), GOOD, strict=True)]
    assert own_set.subscribe(*wanted) == counts(oprettet=len(GOOD))
    assert webhooks(own_set.subscriptions()) == webhooks(wanted)
    assert own_set.subscribe(*wanted) == counts(uaendret=len(GOOD))


def test_paths_outside_the_base_url_are_refused(own_set: Api) -> None:
    """Other hosts, parent segments (also percent-encoded), queries, fragments and over 1024 characters are rejected."""
    request = [entry | {"webhookUrl": path} for entry, path in zip(entries(own_set, len(BAD)), BAD, strict=True)]
    expect_refused(own_set, request, *((index, "webhookUrl", WEBHOOK) for index in range(len(BAD))))
