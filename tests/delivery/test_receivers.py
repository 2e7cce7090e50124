"""Certificates of both sides and secrets of receivers, and their replacement while the worker runs."""

import asyncio
import shutil
import threading
from datetime import timedelta

import pytest
import structlog
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from delivery import receivers
from delivery.calls import ReceiverClient
from delivery.references import ReceiverMisconfigured
from delivery.signing import build_signature_headers
from domain.deliveries import Reason
from tests.delivery.receiving import (
    NOW,
    OK,
    Recorder,
    build_base_url,
    build_claimed_delivery,
    build_receiver,
    send,
    send_one,
    serve_over_tls,
)
from tests.open_e.peers import read_request

SOON, LATER, AFTER = (NOW + timedelta(seconds=seconds) for seconds in (59, 60, 65))


def record_certificates(serve):
    """Run a receiver that records the client certificates."""
    certificates = []

    def watched(connection, number):
        certificates.append(connection.getpeercert(binary_form=True))
        serve(connection, number)

    return watched, certificates


def test_receiver_with_its_own_ca_is_called(run, peer, authority):
    server = peer(serve_over_tls(Recorder(), authority.issue("127.0.0.1")))
    assert (
        run(send_one(build_receiver(build_base_url(server, scheme="https"), ca=f"file:{authority.file}"))).status == 200
    )


def test_own_ca_replaces_those_of_the_machine(run, peer, authority, other_authority):
    server = peer(serve_over_tls(Recorder(), authority.issue("127.0.0.1")))
    response = run(send_one(build_receiver(build_base_url(server, scheme="https"), ca=f"file:{other_authority.file}")))
    assert response.reason is Reason.TLS


def test_ca_of_the_machine_is_trusted(run, peer, authority, monkeypatch):
    # The system's own CA file, by default of OpenSSL.
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    receivers._get_public_context.cache_clear()
    server = peer(serve_over_tls(Recorder(), authority.issue("localhost")))
    response = run(send_one(build_base_url(server, "localhost", "https")))
    receivers._get_public_context.cache_clear()
    assert response.status == 200


def test_receiver_that_requires_a_certificate_gets_ours(run, peer, authority, other_authority):
    serve, certificates = record_certificates(Recorder())
    server = peer(serve_over_tls(serve, authority.issue("127.0.0.1"), clients=other_authority))
    ours = other_authority.issue()
    shown = f"file:{ours.file}"
    url, ca = build_base_url(server, scheme="https"), f"file:{authority.file}"
    assert run(send_one(build_receiver(url, ca=ca, certificate=shown, key=shown))).status == 200
    assert certificates == [ours.der]


@pytest.fixture
def wrong_setups(authority, other_authority, tmp_path):
    """Return unusable configurations, each with the reference that the error names."""
    good, other = f"file:{authority.issue().file}", f"file:{other_authority.issue().file}"
    absent, text, locked = (f"file:{tmp_path / name}" for name in ("absent", "text", "locked"))
    (tmp_path / "text").write_text("no certificate æøå")
    key = load_pem_private_key((authority.issue().file).read_bytes(), None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    (tmp_path / "locked").write_bytes(encrypted)
    return {
        "no ca": ({"ca": absent}, absent),
        "ca that is none": ({"ca": text}, text),
        "no certificate": ({"certificate": absent, "key": good}, absent),
        "certificate that is none": ({"certificate": text, "key": good}, text),
        "no key": ({"certificate": good, "key": absent}, absent),
        "key of another": ({"certificate": good, "key": other}, other),
        "key with a password": ({"certificate": good, "key": locked}, locked),
        "no secret": ({"webhook_secrets": (absent,)}, absent),
        "secret that is none": ({"webhook_secrets": (text,)}, text),
        "variable": ({"webhook_secrets": ("env:NO_SUCH_SECRET",)}, "env:NO_SUCH_SECRET"),
    }


@pytest.mark.parametrize(
    "name",
    [
        "no ca",
        "ca that is none",
        "no certificate",
        "certificate that is none",
        "no key",
        "key of another",
        "key with a password",
        "no secret",
        "secret that is none",
        "variable",
    ],
)
def test_invalid_configuration_ends_the_attempt_and_is_logged(run, wrong_setups, name):
    changes, reference = wrong_setups[name]
    with structlog.testing.capture_logs() as entries:
        response = run(send_one(build_receiver("https://receiver.invalid", **changes)))
    assert (response.status, response.reason) == (None, Reason.SETUP)
    assert reference in response.detail
    [entry] = entries
    assert (entry["log_level"], entry["system"], entry["reason"]) == ("error", "system-1", response.detail)
    assert "æøå" not in str(entries)


async def send_at_times(calls, *times_and_claims):
    return [await calls.send(each, time) for time, each in times_and_claims]


def read_signatures(recorder):
    return [recorder.headers(index).get("webhook-signature") for index in range(len(recorder.requests))]


def test_replaced_secret_is_used_within_a_minute(run, peer, secret_file):
    recorder = Recorder()
    server = peer(recorder)
    to = build_claimed_delivery(build_receiver(build_base_url(server), webhook_secrets=(f"file:{secret_file}",)))

    async def replace():
        calls = ReceiverClient()
        secret_file.write_text("whsec_AQID")
        await calls.send(to, NOW)
        secret_file.write_text("whsec_AQIDBA==")
        await send_at_times(calls, (SOON, to), (LATER, to))
        await calls.close()

    run(replace())
    timestamps = [recorder.headers(index)["webhook-timestamp"] for index in range(3)]
    assert timestamps == [str(int(time.timestamp())) for time in (NOW, SOON, LATER)]
    first, second, third = read_signatures(recorder)
    assert len({first, second, third}) == 3
    body = recorder.requests[0][1]
    for time, key, signature in ((NOW, b"\1\2\3", first), (SOON, b"\1\2\3", second), (LATER, b"\1\2\3\4", third)):
        assert build_signature_headers(to.id, time, body, [key])["webhook-signature"] == signature
    # A new secret needs no new connection.
    assert server.connections == 1


def test_missing_secret_fails_and_a_restored_one_is_used_after_5_seconds(run, peer, secret_file):
    to = build_claimed_delivery(
        build_receiver(build_base_url(peer(Recorder())), webhook_secrets=(f"file:{secret_file}",))
    )

    async def vanish():
        calls = ReceiverClient()
        secret_file.write_text("whsec_AQID")
        responses = [await calls.send(to, NOW)]
        secret_file.unlink()
        responses += await send_at_times(calls, (SOON, to), (LATER, to))
        secret_file.write_text("whsec_AQID")
        responses += await send_at_times(calls, (AFTER - timedelta(milliseconds=1), to), (AFTER, to))
        await calls.close()
        return [each.status or each.reason for each in responses]

    assert run(vanish()) == [200, 200, Reason.SETUP, Reason.SETUP, 200]


def test_clock_that_is_set_back_does_not_extend_the_cache(run, peer, secret_file):
    to = build_claimed_delivery(
        build_receiver(build_base_url(peer(Recorder())), webhook_secrets=(f"file:{secret_file}",))
    )

    async def set_back():
        calls = ReceiverClient()
        secret_file.write_text("whsec_AQID")
        await calls.send(to, NOW)
        secret_file.unlink()
        [response] = await send_at_times(calls, (NOW - timedelta(hours=1), to))
        await calls.close()
        return response.reason

    assert run(set_back()) is Reason.SETUP


def test_replaced_certificate_is_used_within_a_minute(run, peer, authority, tmp_path):
    serve, certificates = record_certificates(Recorder())
    server = peer(serve_over_tls(serve, authority.issue("127.0.0.1"), clients=authority))
    old, new = authority.issue(), authority.issue()
    file = tmp_path / "client.pem"
    shown = f"file:{file}"
    ca = f"file:{authority.file}"
    to = build_claimed_delivery(
        build_receiver(build_base_url(server, scheme="https"), ca=ca, certificate=shown, key=shown)
    )

    async def replace():
        calls = ReceiverClient()
        shutil.copy(old.file, file)
        await calls.send(to, NOW)
        shutil.copy(new.file, file)
        responses = await send_at_times(calls, (SOON, to), (LATER, to), (LATER, to))
        await calls.close()
        return [each.status for each in responses]

    assert run(replace()) == [200, 200, 200]
    assert certificates == [old.der, new.der]


def test_replaced_ca_does_not_interrupt_running_calls(run, peer, authority, tmp_path):
    arrived, go_on = threading.Event(), threading.Event()

    def serve(connection, number):
        read_request(connection)
        if number == 1:
            arrived.set()
            assert go_on.wait(10)
        connection.sendall(OK)

    server = peer(serve_over_tls(serve, authority.issue("127.0.0.1")))
    file = tmp_path / "ca.pem"
    shutil.copy(authority.file, file)
    to = build_claimed_delivery(build_receiver(build_base_url(server, scheme="https"), ca=f"file:{file}"))

    async def replace():
        calls = ReceiverClient()
        first = asyncio.create_task(calls.send(to, NOW))
        await asyncio.to_thread(arrived.wait, 10)
        # The same CA, in another file.
        file.write_text(authority.file.read_text() + "\n")
        second = await calls.send(to, LATER)
        go_on.set()
        responses = [(await first).status, second.status]
        await calls.close()
        return responses

    assert run(replace()) == [200, 200]
    assert server.connections == 2


def test_receivers_share_connections_and_sign_with_their_own_secrets(run, peer, tmp_path):
    recorder = Recorder()
    server = peer(recorder)
    claims = []
    for name, secret in (("1", "whsec_AQID"), ("2", "whsec_AQIDBA==")):
        file = tmp_path / name
        file.write_text(secret)
        to = build_receiver(build_base_url(server), system_id=name, webhook_secrets=(f"file:{file}",))
        claims.append(build_claimed_delivery(to))
    run(send(*claims))
    assert server.connections == 1
    for each, key, signature in zip(claims, (b"\1\2\3", b"\1\2\3\4"), read_signatures(recorder), strict=True):
        assert build_signature_headers(each.id, NOW, recorder.requests[0][1], [key])["webhook-signature"] == signature


def test_receivers_with_other_certificates_have_their_own_connections(run, peer, authority):
    serve, certificates = record_certificates(Recorder())
    server = peer(serve_over_tls(serve, authority.issue("127.0.0.1"), clients=authority))
    one, two = authority.issue(), authority.issue()
    first, second = (
        build_claimed_delivery(
            build_receiver(
                build_base_url(server, scheme="https"),
                ca=f"file:{authority.file}",
                certificate=f"file:{issued.file}",
                key=f"file:{issued.file}",
            )
        )
        for issued in (one, two)
    )
    run(send(first, second, first, second))
    assert certificates == [one.der, two.der]


def test_receiver_without_its_secret_leaves_the_session_of_the_others(run, peer, secret_file):
    secret_file.write_text("whsec_AQID")
    server = peer(Recorder())
    one = build_claimed_delivery(build_receiver(build_base_url(server), webhook_secrets=(f"file:{secret_file}",)))
    two = build_claimed_delivery(build_receiver(build_base_url(server), system_id="2"))

    async def lose_secret():
        calls = ReceiverClient()
        responses = await send_at_times(calls, (NOW, one), (NOW, two))
        secret_file.unlink()
        responses += await send_at_times(calls, (LATER, one), (LATER, two))
        await calls.close()
        return [each.status or each.reason for each in responses]

    assert run(lose_secret()) == [200, 200, Reason.SETUP, 200]
    assert server.connections == 1


def test_sessions_are_bounded_and_the_least_recently_used_is_closed(run, peer, monkeypatch, tmp_path):
    monkeypatch.setattr(receivers, "MAX_SESSIONS", 2)
    server = peer(Recorder())
    claims = []
    for name in ("1", "2", "3"):
        # Each has its own TLS configuration.
        (tmp_path / name).write_text(name)
        claims.append(
            build_claimed_delivery(build_receiver(build_base_url(server), system_id=name, ca=f"file:{tmp_path / name}"))
        )
    one, two, three = claims

    # One connection is reused before three run at the same time, so two must be opened.
    run(send(one, two, one, three, one, three))
    assert server.connections == 3
    before = server.connections
    run(send(one, two, one, three, two))
    assert server.connections - before == 4


def test_cached_receivers_are_bounded(run, monkeypatch, secret_file):
    monkeypatch.setattr(receivers, "MAX_RECEIVERS", 2)
    first, *others = (
        build_receiver("https://receiver.invalid", system_id=name, webhook_secrets=(f"file:{secret_file}",))
        for name in ("1", "2", "3")
    )

    async def fill():
        pool = receivers.SessionPool(receivers.ClientTimeout())
        secret_file.write_text("AQID")
        session = pool.get_setup(first, NOW).session
        for each in others:
            assert pool.get_setup(each, NOW).session is session
        secret_file.write_text("AQIDBA==")
        keys = [pool.get_setup(each, NOW).keys for each in (others[1], first)]
        await pool.close()
        assert session.http.closed
        return keys

    # The keys of the first receiver were dropped, and are read again.
    assert run(fill()) == [(b"\1\2\3",), (b"\1\2\3\4",)]


def test_hosts_with_idle_connections_are_bounded(run, peer, monkeypatch):
    monkeypatch.setattr(receivers, "MAX_IDLE_HOSTS", 1)
    first, second = peer(Recorder()), peer(Recorder())
    one, two = (build_claimed_delivery(build_receiver(build_base_url(server))) for server in (first, second))
    run(send(one, one, two, two, one))
    assert (first.connections, second.connections) == (2, 1)


def test_line_raises_until_the_configuration_is_valid(run, secret_file):
    to = build_receiver("https://receiver.invalid", webhook_secrets=(f"file:{secret_file}",))

    async def ask():
        pool = receivers.SessionPool(receivers.ClientTimeout())
        with pytest.raises(ReceiverMisconfigured, match="cannot be read: No such file"):
            pool.get_setup(to, NOW)
        secret_file.write_text("AQID")
        session, keys, *_ = pool.get_setup(to, AFTER)
        assert session is pool.get_setup(to, AFTER).session
        assert keys == (b"\1\2\3",)
        await pool.close()
        assert session.http.closed

    run(ask())
