"""A right receiver, and receivers that each break the contract in one way."""

import hmac
import json
import socket
import ssl
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any

from tests.webhook_receivers import KEY

BROKEN: dict[str, "Broken"] = {}
"""The broken receivers by description."""


@dataclass(frozen=True)
class Request:
    """A request as it was received."""

    method: str
    headers: Any
    body: bytes

    @property
    def id(self) -> str:
        return self.headers.get("webhook-id", "")

    @property
    def timestamp(self) -> str:
        return self.headers.get("webhook-timestamp", "")

    @property
    def signatures(self) -> str:
        return self.headers.get("webhook-signature", "")


class RightReceiver:
    """A receiver that keeps the contract. `done` has its deliveries in order; `has_ended` ends slow work."""

    server_class: type[HTTPServer] = ThreadingHTTPServer

    def __init__(self) -> None:
        self.done: list[dict[str, str]] = []
        self.lock = threading.Lock()
        self.has_ended = threading.Event()

    def read_body(self, handler: BaseHTTPRequestHandler) -> bytes:
        return handler.rfile.read(int(handler.headers.get("Content-Length", "0")))

    def respond(self, request: Request) -> int | None:
        """Return the status, or None to close the connection."""
        if request.method != "POST":
            return 405
        if not self.is_recent(request) or not self.is_authentic(request):
            return 401
        return self.accept(request)

    def is_recent(self, request: Request) -> bool:
        is_number = request.timestamp.isascii() and request.timestamp.isdecimal() and len(request.timestamp) <= 12
        return is_number and abs(time.time() - int(request.timestamp)) <= 300

    def is_authentic(self, request: Request) -> bool:
        expected = self.sign(request).encode()
        return any(
            hmac.compare_digest(expected, given.removeprefix("v1,").encode("utf-8", "surrogateescape"))
            for given in request.signatures.split()
            if given.startswith("v1,")
        )

    def sign(self, request: Request) -> str:
        signed = f"{request.id}.{request.timestamp}.".encode() + request.body
        return b64encode(hmac.digest(KEY, signed, "sha256")).decode()

    def accept(self, request: Request) -> int:
        with self.lock:
            if request.id not in self.list_ids():
                self.store(request)
        return 204

    def store(self, request: Request) -> None:
        self.done.append({"id": request.id, "sha256": sha256(request.body).hexdigest()})

    def list_ids(self) -> list[str]:
        return [entry["id"] for entry in self.done]


@dataclass(frozen=True)
class Broken:
    """A broken receiver: the case of the check that finds it, and a part of the message."""

    receiver: type[RightReceiver]
    case: str
    words: str
    options: tuple[str, ...] = ()


@contextmanager
def serving(receiver: RightReceiver, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Yield the URL of the webhook of a receiver, optionally with TLS."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20

        def handle_request(self) -> None:
            try:
                body = receiver.read_body(self)
                status = receiver.respond(Request(self.command, self.headers, body))
            except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError):
                status = 500
            if status is None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(status)
            if status == 307:
                self.send_header("Location", f"{self.path}/")
            if status != 204:
                self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD = do_POST = handle_request  # noqa: N815  # The names of the library.

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    class Server(receiver.server_class):  # type: ignore[name-defined, misc]
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            """Ignore clients that close the connection."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        # The handshake is made by the thread of the connection.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}/star/webhook"
    finally:
        receiver.has_ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def broken(name: str, case: str, words: str, *options: str) -> Any:
    """Add a class to the table."""

    def add(receiver: type[RightReceiver]) -> type[RightReceiver]:
        assert name not in BROKEN
        BROKEN[name] = Broken(receiver, case, words, options)
        return receiver

    return add


# Signatures.


@broken("verifies nothing", "a signature of another secret", "the receiver accepted it (204)")
class VerifiesNothing(RightReceiver):
    def respond(self, request):
        return self.accept(request) if request.method == "POST" else 405


@broken("compares hexadecimal with base64", "an event with all properties", "the answer is 401")
class ComparesHexadecimal(RightReceiver):
    def sign(self, request):
        return b64decode(super().sign(request)).hex()


@broken("does not decode the secret", "an event with all properties", "the answer is 401")
class DoesNotDecodeSecret(RightReceiver):
    def sign(self, request):
        signed = f"{request.id}.{request.timestamp}.".encode() + request.body
        return b64encode(hmac.digest(b64encode(KEY), signed, "sha256")).decode()


@broken("signs without the id", "an event with all properties", "the answer is 401")
class SignsWithoutId(RightReceiver):
    def sign(self, request):
        signed = f"{request.timestamp}.".encode() + request.body
        return b64encode(hmac.digest(KEY, signed, "sha256")).decode()


@broken("compares the first signature only", "the valid signature second of two", "the answer is 401")
class ComparesFirst(RightReceiver):
    def is_authentic(self, request):
        return request.signatures.split(" ")[0] == f"v1,{self.sign(request)}"


@broken("compares the whole header", "the valid signature first of two", "the answer is 401")
class ComparesHeader(RightReceiver):
    def is_authentic(self, request):
        return request.signatures == f"v1,{self.sign(request)}"


@broken(
    "rejects signatures of unknown versions", "the valid signature after one of an unknown version", "the answer is 401"
)
class RejectsUnknownVersions(RightReceiver):
    def is_authentic(self, request):
        return all(text.startswith("v1,") for text in request.signatures.split()) and super().is_authentic(request)


@broken("compares the beginning", "a signature that differs in the last characters only", "accepted it (204)")
class ComparesBeginning(RightReceiver):
    def is_authentic(self, request):
        return any(text[3:40] == self.sign(request)[:37] for text in request.signatures.split())


@broken("compares as far as the signature goes", "a signature that is only the beginning of the right one", "accepted")
class ComparesGivenLength(RightReceiver):
    def is_authentic(self, request):
        return any(self.sign(request).startswith(text[3:]) for text in request.signatures.split())


@broken("accepts an empty signature", "a signature that is empty", "accepted it (204)")
class AcceptsEmpty(RightReceiver):
    def is_authentic(self, request):
        return request.signatures == "v1," or super().is_authentic(request)


@broken("compares without case", "a signature with upper and lower case swapped", "accepted it (204)")
class ComparesWithoutCase(RightReceiver):
    def is_authentic(self, request):
        return f"v1,{self.sign(request)}".lower() in request.signatures.lower().split()


@broken("accepts other versions", "a signature of another version", "accepted it (204)")
class AcceptsVersions(RightReceiver):
    def is_authentic(self, request):
        return any(text.partition(",")[2] == self.sign(request) for text in request.signatures.split())


@broken("accepts hexadecimal too", "a signature in hexadecimal", "accepted it (204)")
class AcceptsHexadecimal(RightReceiver):
    def is_authentic(self, request):
        return super().is_authentic(request) or request.signatures == f"v1,{b64decode(self.sign(request)).hex()}"


@broken("fails on a signature of another length", "a signature that is only the beginning of the right one", "is 500")
class FailsOnLength(RightReceiver):
    def is_authentic(self, request):
        if any(len(text) != 47 for text in request.signatures.split()):
            raise ValueError("input buffers must have the same byte length")
        return super().is_authentic(request)


@broken("fails on a signature that is not ASCII", "a signature that is not ASCII", "the answer is 500")
class FailsOnText(RightReceiver):
    def is_authentic(self, request):
        return any(hmac.compare_digest(text[3:], self.sign(request)) for text in request.signatures.split())


@broken("fails on a signature without a comma", "a signature without a comma", "the answer is 500")
class FailsWithoutComma(RightReceiver):
    def is_authentic(self, request):
        pairs = [text.split(",") for text in request.signatures.split()]
        return any(pair[1] == self.sign(request) and pair[0] == "v1" for pair in pairs)


@broken("accepts unsigned deliveries", "no webhook-signature", "accepted it (204)")
class AcceptsUnsigned(RightReceiver):
    def is_authentic(self, request):
        return not request.signatures or super().is_authentic(request)


@broken("accepts a delivery without any header", "none of these headers", "accepted it (204)")
class AcceptsWithoutHeaders(RightReceiver):
    def respond(self, request):
        is_bare = request.method == "POST" and not (request.id or request.timestamp or request.signatures)
        return 204 if is_bare else super().respond(request)


@broken("verifies the beginning of the body", "a byte after the body", "accepted it (204)")
class VerifiesStripped(RightReceiver):
    def respond(self, request):
        return super().respond(Request(request.method, request.headers, request.body.rstrip(b" ")))


@broken("accepts what it has verified under another id", "another id", "accepted it (204)")
class AcceptsOtherId(RightReceiver):
    def is_authentic(self, request):
        return super().is_authentic(request) or request.id.startswith("00000000")


@broken("ignores the timestamp", "an old timestamp", "accepted it (204)")
class IgnoresTimestamp(RightReceiver):
    def is_recent(self, request):
        return True


@broken("accepts the future", "a timestamp in the future", "accepted it (204)")
class AcceptsFuture(RightReceiver):
    def is_recent(self, request):
        return request.timestamp.isdecimal() and time.time() - int(request.timestamp) <= 300


@broken("fails on a timestamp that is no number", "a timestamp that is no number", "the answer is 500")
class FailsOnTimestamp(RightReceiver):
    def is_recent(self, request):
        return abs(time.time() - int(request.timestamp)) <= 300


@broken(
    "parses before it verifies", "the signature is verified before the body is parsed", "400 if its body is no JSON"
)
class ParsesFirst(RightReceiver):
    def respond(self, request):
        if request.method == "POST":
            try:
                json.loads(request.body)
            except ValueError:
                return 400
        return super().respond(request)


@broken("fails on what it parses before it verifies", "a changed body that is no JSON", "the answer is 500")
class FailsOnParsing(RightReceiver):
    def is_authentic(self, request):
        json.loads(request.body)
        return super().is_authentic(request)


@broken("parses nested JSON before it verifies", "a changed body with 50,000 nested lists", "the answer is 500")
class FailsOnNesting(RightReceiver):
    def is_authentic(self, request):
        try:
            json.loads(request.body)
        except ValueError:
            return False
        return super().is_authentic(request)


@broken("verifies what it has parsed and written again", "JSON in other bytes", "the answer is 401")
class WritesAgain(RightReceiver):
    def sign(self, request):
        body = json.dumps(json.loads(request.body), ensure_ascii=False, separators=(",", ":")).encode()
        return super().sign(Request(request.method, request.headers, body))


@broken("rejects with a status that is retried", "a changed body", "sent again and again")
class RejectsWith503(RightReceiver):
    def respond(self, request):
        return 503 if (status := super().respond(request)) == 401 else status


@broken("rejects slowly", "an old timestamp", "must be rejected within 5 s")
class RejectsSlowly(RightReceiver):
    def respond(self, request):
        if (status := super().respond(request)) == 401:
            self.has_ended.wait(5.1)
        return status


@broken("stores what it rejects", "a changed body", "but the receiver has done it", "--look")
class StoresRejected(RightReceiver):
    def respond(self, request):
        status = super().respond(request)
        if status == 401:
            self.store(request)
        return status


# Repetitions and order.


@broken("does a delivery twice", "the same delivery again", "must be done once", "--look")
class IsNotIdempotent(RightReceiver):
    def accept(self, request):
        self.store(request)
        return 204


@broken("rejects repetitions", "the same delivery again", "the answer is 409")
class RejectsRepetitions(RightReceiver):
    def accept(self, request):
        return 409 if request.id in self.list_ids() else super().accept(request)


@broken("rejects a request that it has seen", "the same request again", "the answer is 401")
class RejectsSameRequest(RightReceiver):
    def is_authentic(self, request):
        seen = request.signatures in getattr(self, "seen", [])
        self.seen = [*getattr(self, "seen", []), request.signatures]
        return super().is_authentic(request) and not seen


@broken("looks up and stores in two steps", "the same delivery three times at once", "must be done once", "--look")
class HasRace(RightReceiver):
    def accept(self, request):
        is_new = request.id not in self.list_ids()
        self.has_ended.wait(0.2)
        if is_new:
            self.store(request)
        return 204


@broken("deduplicates by beskedId", "one event for two subscriptions", "has it 0 times", "--look")
class DeduplicatesByEvent(RightReceiver):
    def store(self, request):
        event_id = json.loads(request.body)["beskedId"]
        if event_id not in getattr(self, "events", []):
            super().store(request)
        self.events = [*getattr(self, "events", []), event_id]


@broken("remembers the id before it verifies", "the real delivery after a forged one", "has it 0 times", "--look")
class RemembersFirst(RightReceiver):
    def respond(self, request):
        is_known = request.id in getattr(self, "ids", [])
        self.ids = [*getattr(self, "ids", []), request.id]
        return 204 if is_known else super().respond(request)


@broken("has another order", "deliveries about one object in order", "must be done in order", "--look")
class ReversesOrder(RightReceiver):
    def store(self, request):
        super().store(request)
        self.done.reverse()


# Bodies.


class RejectsEvents(RightReceiver):
    """Answers 400 to some valid deliveries."""

    def accept(self, request):
        return 400 if self.rejects(json.loads(request.body), request.body) else super().accept(request)

    def rejects(self, event, body):
        return False


@broken("requires entitetNavn", "a delivery without entitetNavn", "the answer is 400")
class RequiresName(RejectsEvents):
    def rejects(self, event, body):
        return "entitetNavn" not in event


@broken("rejects unknown properties", "unknown properties", "the answer is 400")
class RejectsUnknownProperties(RejectsEvents):
    def rejects(self, event, body):
        return "nytFelt" in event


@broken("rejects unknown types", "an unknown type of event", "the answer is 400")
class RejectsUnknownTypes(RejectsEvents):
    def rejects(self, event, body):
        return event["entitetId"] != 202


@broken("rejects test messages", "a test message", "the answer is 400")
class RejectsTests(RejectsEvents):
    def rejects(self, event, body):
        return event.get("body") == {"testbesked": True}


@broken("rejects deletions", "a deleted object", "the answer is 400")
class RejectsDeletions(RejectsEvents):
    def rejects(self, event, body):
        return event["aendringstype"] == 3


@broken("accepts 64 KiB only", "the largest body", "the answer is 400")
class HasSmallLimit(RejectsEvents):
    def rejects(self, event, body):
        return len(body) > 65_536


@broken("rejects numbers over 53 bits", "unusual numbers", "the answer is 400")
class RejectsLargeNumbers(RejectsEvents):
    def rejects(self, event, body):
        return str(2**64 - 1).encode() in body


@broken("rejects 32 levels", "nested JSON", "the answer is 400")
class RejectsNesting(RejectsEvents):
    def rejects(self, event, body):
        return body.count(b"[") > 20


@broken("reads UTF-8 as Latin-1", "unusual Unicode", "must be kept as it was sent", "--look")
class ReadsLatin1(RightReceiver):
    def store(self, request):
        super().store(Request(request.method, request.headers, request.body.decode("latin-1").encode()))


@broken("requires the headers of a trace", "an event with all properties", "the answer is 400")
class RequiresTrace(RightReceiver):
    def accept(self, request):
        return super().accept(request) if "traceparent" in request.headers else 400


# Connections.


@broken("redirects", "an event with all properties", "redirects are not followed")
class Redirects(RightReceiver):
    def respond(self, request):
        return 307


@broken("answers 200 to GET", "GET", "the answer is 200")
class AnswersGet(RightReceiver):
    def respond(self, request):
        return 200 if request.method == "GET" else super().respond(request)


@broken("answers 200 to HEAD", "HEAD", "the answer is 200")
class AnswersHead(RightReceiver):
    def respond(self, request):
        return 200 if request.method == "HEAD" else super().respond(request)


@broken("reads a body in one piece", "a body that arrives slowly", "the answer is 401")
class ReadsOnce(RightReceiver):
    def read_body(self, handler):
        length = int(handler.headers.get("Content-Length", "0"))
        return handler.rfile.read1(length) if length else b""


@broken("serves one connection at a time", "a delivery while another one does not end", "no answer", "--timeout=1")
class ServesOneConnection(RightReceiver):
    server_class = HTTPServer


@broken("serves one delivery at a time", "several deliveries at once", "the answer is 503")
class ServesOneDelivery(RightReceiver):
    def accept(self, request):
        if not self.lock.acquire(blocking=False):
            return 503
        try:
            self.has_ended.wait(0.1)
            self.store(request)
        finally:
            self.lock.release()
        return 204


@broken(
    "works before it answers", "an event with all properties", "store the delivery, answer, then work", "--timeout=1"
)
class WorksFirst(RightReceiver):
    def accept(self, request):
        self.has_ended.wait()
        return super().accept(request)


@broken("closes the connection", "an event with all properties", "no answer")
class Closes(RightReceiver):
    def respond(self, request):
        return None


@broken("answers without reading the body", "a delivery after a rejected one on its connection", "must be answered")
class DoesNotRead(RightReceiver):
    def read_body(self, handler):
        is_large = int(handler.headers.get("Content-Length", "0")) > 20_000
        return b"" if is_large else super().read_body(handler)


@broken("rejects Connection: close", "a client that reads slowly", "must be answered with 2xx")
class RejectsConnectionClose(RightReceiver):
    def respond(self, request):
        return 400 if request.headers.get("Connection") == "close" else super().respond(request)
