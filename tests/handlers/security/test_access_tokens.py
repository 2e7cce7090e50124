"""Access tokens on a running service: the rights that they give, and the challenges of RFC 6750."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from conftest import MESSAGES_KEY, PUBLISH_KEY, RunningService, create_database, running_service
from tests.catalogue_rows import ALLOWED, ORG_TYPE, put_message_types, put_system, read_audit
from tests.factories import build_message_body
from tests.handlers.callers import create_certificate, read_errors
from tests.handlers.conftest import OPEN_E_URLS
from tests.handlers.messages import create_id, read_problem, read_violations
from tests.issuers import HEADER, bear, create_good_token, write_issuers
from tests.tokens import CLIENT, ISSUER

METADATA = "https://budkavle.example/.well-known/oauth-protected-resource"
PLAIN = f'Bearer realm="budkavle", resource_metadata="{METADATA}"'
KEY = 'ApiKey realm="budkavle", header="apikey"'
CERTIFICATE = 'ClientCertificate realm="budkavle"'
EVENT = {"entityType": ALLOWED, "orgType": ORG_TYPE, "orgCode": 101, "aendringstype": 2}
LIST = "/webmessages/external-references/errandNumber/A-1"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def accepting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Yield the service on each database, which accepts tokens and trusts headers of this machine."""
    folder = tmp_path_factory.mktemp("accepting")
    url = create_database(request, folder)
    put_message_types(url)
    settings = {"issuers": write_issuers(folder), "trusted_proxies": "127.0.0.1", **OPEN_E_URLS}
    with running_service(database_url=url, **settings) as running:
        # Only the tests send credentials.
        del running.client.headers["apikey"]
        yield running


@pytest.fixture(scope="module")
def behind_gateway(migrated_sqlite: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Yield the service that accepts tokens from a gateway on this machine only."""
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "test.db").write_bytes(migrated_sqlite)
    issuers = write_issuers(folder, header=HEADER)
    with running_service(
        database_url=f"sqlite:///{folder / 'test.db'}", issuers=issuers, trusted_proxies="127.0.0.1"
    ) as running:
        del running.client.headers["apikey"]
        yield running


def thumbprint(fingerprint: str) -> dict[str, str]:
    """Return the claim `cnf` of a token that is bound to a certificate."""
    encoded = base64.urlsafe_b64encode(bytes.fromhex(fingerprint)).rstrip(b"=").decode()
    return {"x5t#S256": encoded}


def read_challenge(response: httpx.Response) -> str:
    challenge: str = response.headers["www-authenticate"]
    return challenge


def test_token_gives_the_access_of_its_scopes(accepting: RunningService) -> None:
    client = accepting.client
    created = client.post("/webmessages", json=build_message_body(), headers=bear())
    assert created.status_code == 201, created.text
    reading = bear(scope="wms:read other")
    assert client.get(created.headers["location"], headers=reading).status_code == 200
    refused = client.delete(created.headers["location"], headers=reading)
    assert read_problem(refused, 403, "Forbidden")["detail"] == "The token lacks the scope messages.write"
    assert refused.headers["www-authenticate"] == (
        'Bearer realm="budkavle", error="insufficient_scope",'
        ' error_description="The token lacks the scope messages.write", scope="wms:write",'
        f' resource_metadata="{METADATA}"'
    )


def test_tokens_of_one_client_share_idempotency_keys_and_others_do_not(accepting: RunningService) -> None:
    key = {"Idempotency-Key": create_id()}
    body = build_message_body()
    locations = [
        accepting.client.post("/webmessages", json=body, headers=headers | key).headers["location"]
        for headers in (bear(), bear(jti="another"), bear(client_id="other"), {"apikey": MESSAGES_KEY})
    ]
    assert locations[0] == locations[1]
    assert len(set(locations)) == 3


def test_event_is_published_with_a_token(accepting: RunningService) -> None:
    accepted = accepting.client.post("/v1/besked", json=EVENT, headers=bear(scope="events"))
    assert accepted.status_code == 202, accepted.text
    refused = accepting.client.post("/v1/besked", json=EVENT, headers=bear())
    [error] = read_errors(refused, 403)
    assert error["errorCode"] == 1013
    assert 'error="insufficient_scope"' in read_challenge(refused)
    assert 'scope="events"' in read_challenge(refused)


def test_limited_token_publishes_its_events_only(accepting: RunningService) -> None:
    limited = bear(scope="events:8")
    [error] = read_errors(accepting.client.post("/v1/besked", json=EVENT, headers=limited), 403)
    assert error["errorCode"] == 1013
    other = {**EVENT, "orgType": 8}
    response = accepting.client.post("/v1/besked", json=other, headers=limited)
    assert response.status_code in {202, 400}, response.text
    refused = accepting.client.post("/v1/besked", json=EVENT, headers=limited)
    text = f"The token lacks the scope publish:{ORG_TYPE}:101"
    assert f'error_description="{text}", scope="events"' in read_challenge(refused)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic dGVzdDp0ZXN0"}, {"Authorization": "Digest x"}])
def test_request_without_credentials_gets_challenges_without_an_error(
    accepting: RunningService, headers: dict[str, str]
) -> None:
    response = accepting.client.get(LIST, headers=headers)
    assert read_problem(response, 401, "Unauthorized")["detail"] == "A valid key in the header apikey is needed"
    assert read_challenge(response) == f"{PLAIN}, {KEY}"
    response = accepting.client.post("/v1/besked", json=EVENT, headers=headers)
    assert [error["errorCode"] for error in read_errors(response, 401)] == [1012]
    assert read_challenge(response) == f"{PLAIN}, {KEY}"


def test_operation_for_systems_has_a_challenge_for_certificates(accepting: RunningService) -> None:
    query = {"systemIdentifier": create_id()}
    for headers in ({}, bear()):
        response = accepting.client.get("/v1/abonnement", params=query, headers=headers)
        assert [error["errorCode"] for error in read_errors(response, 401)] == [1101]
        assert read_challenge(response) == CERTIFICATE


def test_bad_key_gets_challenges_without_an_error(accepting: RunningService) -> None:
    response = accepting.client.get(LIST, headers={"apikey": "unknown"})
    assert response.status_code == 401
    assert read_challenge(response) == f"{PLAIN}, {KEY}"


def test_bad_token_gets_invalid_token(accepting: RunningService) -> None:
    expired = create_good_token(exp=1)
    response = accepting.client.get(LIST, headers=bear(expired))
    read_problem(response, 401, "Unauthorized")
    challenge = read_challenge(response)
    assert re.fullmatch(
        'Bearer realm="budkavle", error="invalid_token", error_description="[^"\\\\]+",'
        f' resource_metadata="{METADATA}", {KEY}',
        challenge,
    )
    assert not any(part in challenge + response.text for part in expired.split("."))
    response = accepting.client.post("/v1/besked", json=EVENT, headers=bear(expired))
    assert [error["errorCode"] for error in read_errors(response, 401)] == [1012]
    assert 'error="invalid_token"' in read_challenge(response)


@pytest.mark.parametrize(
    "values",
    [
        ["Bearer"],
        ["bearer"],
        ["Bearer GOOD", "Bearer GOOD"],
        ["Bearer GOOD", "Basic dGVzdDp0ZXN0"],
        ["Basic dGVzdDp0ZXN0", "Bearer GOOD"],
        ["Bearer GOOD", ""],
        ["Bearer GOOD, Bearer GOOD"],
        ["Bearer GOOD,bearer\tGOOD"],
        ["Bearer ,Bearer"],
        ["Basic dGVzdDp0ZXN0, Bearer GOOD"],
        ["Bearer GOOD,Basic dGVzdDp0ZXN0"],
        ['Digest username="a", qop=auth, Bearer GOOD'],
    ],
)
def test_ambiguous_token_gets_invalid_request(accepting: RunningService, values: list[str]) -> None:
    token = create_good_token()
    headers = [("Authorization", value.replace("GOOD", token)) for value in values]
    response = accepting.client.get(LIST, headers=headers)
    [(field, _)] = read_violations(response)
    assert field == "Authorization"
    assert read_challenge(response) == (
        f'Bearer realm="budkavle", error="invalid_request", resource_metadata="{METADATA}"'
    )
    response = accepting.client.post("/v1/besked", json=EVENT, headers=headers)
    assert [(error["errorCode"], error["field"]) for error in read_errors(response, 400)] == [(1014, "Authorization")]
    assert 'error="invalid_request"' in read_challenge(response)


@pytest.mark.parametrize("template", ["bearer {}", "BEARER  {}", "Bearer\t{}", "Bearer \t{}"])
def test_scheme_is_case_insensitive(accepting: RunningService, template: str) -> None:
    headers = {"Authorization": template.format(create_good_token())}
    assert accepting.client.get(LIST, headers=headers).status_code == 200


def test_key_and_token_must_both_be_good(accepting: RunningService) -> None:
    good, bad = {"apikey": MESSAGES_KEY}, {"apikey": "unknown"}
    # The token decides on the rights.
    assert accepting.client.post("/webmessages", json=build_message_body(), headers=good | bear()).status_code == 201
    response = accepting.client.post("/webmessages", json=build_message_body(), headers=good | bear(scope="wms:read"))
    assert response.status_code == 403
    response = accepting.client.post(
        "/webmessages", json=build_message_body(), headers={"apikey": PUBLISH_KEY} | bear(scope="wms:write")
    )
    assert response.status_code == 201
    tab = {"Authorization": "Bearer\tx.y.z"}
    for headers in (good | bear("x.y.z"), bad | bear(), bad | bear("x.y.z"), good | tab):
        assert accepting.client.get(LIST, headers=headers).status_code == 401


def test_token_is_not_read_from_other_places(accepting: RunningService) -> None:
    token = create_good_token()
    assert accepting.client.get(LIST, headers={"apikey": token}).status_code == 401
    assert accepting.client.get(LIST, headers={"Cookie": f"access_token={token}"}).status_code == 401
    assert accepting.client.get(LIST, headers={HEADER: token}).status_code == 401
    assert accepting.client.get(f"{LIST}?access_token={token}").status_code == 401
    assert accepting.client.get(f"{LIST}?access_token={token}", headers=bear()).status_code == 400


def test_bound_token_needs_its_certificate(accepting: RunningService) -> None:
    certificate, other = create_certificate(), create_certificate()
    bound = bear(cnf=thumbprint(certificate.fingerprint))
    shown = {"Client-Cert": certificate.header}
    assert accepting.client.get(LIST, headers=bound | shown).status_code == 200
    for headers in ({}, {"Client-Cert": other.header}, {"Client-Cert": "garbage"}):
        response = accepting.client.get(LIST, headers=bound | headers)
        read_problem(response, 401, "Unauthorized")
        assert 'error="invalid_token"' in read_challenge(response)
    # A certificate that the token does not require changes nothing.
    assert accepting.client.get(LIST, headers=bear() | shown).status_code == 200


def test_token_limits_the_systems_of_a_certificate(accepting: RunningService) -> None:
    certificate = create_certificate()
    url = accepting.settings.database_url.get_secret_value()
    system, second, foreign = create_id(), create_id(), create_id()
    put_system(url, system, certificate.fingerprint)
    put_system(url, second, certificate.fingerprint)
    put_system(url, foreign, create_certificate().fingerprint)
    shown = {"Client-Cert": certificate.header}
    cnf = thumbprint(certificate.fingerprint)

    def get(system_id: str, headers: dict[str, str]) -> httpx.Response:
        return accepting.client.get("/v1/abonnement", params={"systemIdentifier": system_id}, headers=headers)

    assert get(second, shown).status_code == 200
    both = shown | bear(cnf=cnf, system=[system.upper(), foreign])
    allowed = get(system, both)
    assert allowed.status_code == 200
    assert [entry.caller for entry in read_audit(url, allowed.headers["x-requestid"])] == [f"{ISSUER}#{CLIENT}"]
    synced = {
        system_id: accepting.client.post(
            "/v1/abonnement/sync", json={"systemIdentifier": system_id, "abonnementer": []}, headers=both
        ).status_code
        for system_id in (system, second, foreign)
    }
    assert synced == {system: 200, second: 403, foreign: 403}
    for system_id in (second, foreign):
        assert [error["errorCode"] for error in read_errors(get(system_id, both), 403)] == [1013]
    # A token without systems gives access to none.
    read_errors(get(system, shown | bear(cnf=cnf)), 403)
    for token in (bear(system=system), bear(cnf=thumbprint(create_certificate().fingerprint), system=system)):
        response = get(system, shown | token)
        assert [error["errorCode"] for error in read_errors(response, 401)] == [1012]
        assert re.match('Bearer .*error="invalid_token".*ClientCertificate ', read_challenge(response))
    expired = bear(cnf=cnf, system=system, exp=1)
    assert [error["errorCode"] for error in read_errors(get(system, shown | expired), 401)] == [1012]


def test_gateway_header_is_accepted_from_its_proxy(behind_gateway: RunningService) -> None:
    token = create_good_token()
    assert behind_gateway.client.get(LIST, headers={HEADER: token}).status_code == 200
    assert behind_gateway.client.get(LIST, headers={HEADER.lower(): token}).status_code == 200
    bad = behind_gateway.client.get(LIST, headers={HEADER: create_good_token(exp=1)})
    assert bad.status_code == 401
    assert 'error="invalid_token"' in read_challenge(bad)
    for headers in ([(HEADER, token), (HEADER, token)], [(HEADER, "")]):
        response = behind_gateway.client.get(LIST, headers=headers)
        read_violations(response)
        assert 'error="invalid_request"' in read_challenge(response)


def test_authorization_is_ignored_if_only_gateways_send_tokens(behind_gateway: RunningService) -> None:
    """The header may be that of the gateway itself, or of the caller for the gateway."""
    response = behind_gateway.client.get(LIST, headers=bear())
    assert response.status_code == 401
    # Callers cannot request tokens of a gateway.
    assert read_challenge(response) == KEY
    headers = {HEADER: create_good_token(), "Authorization": "Bearer opaque"}
    assert behind_gateway.client.get(LIST, headers=headers).status_code == 200


@pytest.mark.parametrize("proxies", ["192.0.2.1", "::1"])
def test_gateway_header_of_others_is_ignored(sqlite_url: str, tmp_path: Path, proxies: str) -> None:
    issuers = write_issuers(tmp_path, header=HEADER)
    with running_service(database_url=sqlite_url, issuers=issuers, trusted_proxies=proxies) as service:
        headers = {HEADER: create_good_token()}
        assert service.client.get(LIST, headers=headers).status_code == 200
        del service.client.headers["apikey"]
        response = service.client.get(LIST, headers=headers)
        assert response.status_code == 401
        assert read_challenge(response) == KEY


def test_without_issuers_tokens_are_ignored(contract: RunningService) -> None:
    for headers in (bear(), bear("x.y.z"), {"Authorization": "Bearer"}):
        assert contract.client.get(LIST, headers=headers).status_code == 200
        response = contract.client.get(LIST, headers={**headers, "apikey": "unknown"})
        assert response.status_code == 401
        assert read_challenge(response) == KEY


def test_keys_that_were_never_available_get_503(sqlite_url: str, tmp_path: Path) -> None:
    issuers = write_issuers(tmp_path, jwks="https://127.0.0.1:9/jwks.json")
    with running_service(database_url=sqlite_url, issuers=issuers) as service:
        response = service.client.get(LIST, headers=bear())
        read_problem(response, 503, "Service Unavailable")
        assert int(response.headers["retry-after"]) >= 1
        assert "www-authenticate" not in response.headers
        [error] = read_errors(service.client.post("/v1/besked", json=EVENT, headers=bear()), 503)
        assert error["errorCode"] == 1011
        # Keys do not depend on issuers.
        assert service.client.get(LIST).status_code == 200
        assert 'budkavle_key_set_age_seconds{key_set="https://127.0.0.1:9/jwks.json"} +Inf' in (
            service.client.get("/metrics").text
        )


def test_get_protected_resource_returns_the_metadata(accepting: RunningService) -> None:
    response = accepting.client.get("/.well-known/oauth-protected-resource")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "resource": "https://budkavle.example",
        "resource_name": "Budkavle",
        "authorization_servers": [ISSUER],
        "scopes_supported": ["events", "events:8", "wms:read", "wms:write"],
        "bearer_methods_supported": ["header"],
        "tls_client_certificate_bound_access_tokens": True,
    }


def test_metadata_omits_parameters_without_values(sqlite_url: str, tmp_path: Path) -> None:
    """RFC 9728, section 3.2. The issuer is no URL, and callers cannot request its roles."""
    roles = {"claim": "roles", "map": {"writer": "messages"}}
    issuers = write_issuers(tmp_path, issuer="wso2.org/products/am", scopes=roles)
    with running_service(database_url=sqlite_url, issuers=issuers) as service:
        metadata = service.client.get("/.well-known/oauth-protected-resource").json()
    assert sorted(metadata) == [
        "bearer_methods_supported",
        "resource",
        "resource_name",
        "tls_client_certificate_bound_access_tokens",
    ]


def test_get_protected_resource_without_issuers_is_404(contract: RunningService) -> None:
    response = contract.client.get("/.well-known/oauth-protected-resource")
    assert read_problem(response, 404, "Not Found")["detail"] == "No protected resource is configured"


def test_metrics_count_refused_tokens_by_fault(accepting: RunningService) -> None:
    def count(fault: str) -> float:
        text = accepting.client.get("/metrics").text
        return float(re.findall(rf'budkavle_refused_tokens_total{{reason="{fault}"}} (\S+)', text)[0])

    before = {fault: count(fault) for fault in ("token_expired", "token_without_certificate", "token_malformed")}
    accepting.client.get(LIST, headers=bear(exp=1))
    accepting.client.get(LIST, headers=bear(cnf=thumbprint(64 * "0")))
    accepting.client.get(LIST, headers=bear("x.y.z"))
    assert {fault: count(fault) - number for fault, number in before.items()} == dict.fromkeys(before, 1)
