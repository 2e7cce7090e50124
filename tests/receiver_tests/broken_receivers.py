"""Receivers that each break the contract in one way."""

import json
from http.server import HTTPServer

from tests.receiver_tests.broken_signatures import BROKEN_SIGNATURES
from tests.receiver_tests.broken_table import BrokenReceivers
from tests.receiver_tests.right_receiver import Request, RightReceiver

BROKEN = BrokenReceivers(BROKEN_SIGNATURES)
broken = BROKEN.add

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


@broken("requires a body", "an event with the required properties only", "the answer is 400")
class RequiresBody(RejectsEvents):
    def rejects(self, event, body):
        return "body" not in event


@broken("requires versions that are numbers", "an updated object", "the answer is 400")
class RequiresNumber(RejectsEvents):
    def rejects(self, event, body):
        return not event.get("versionIdentifier", "1").isdecimal()


@broken("rejects the id of no object", "an event about no object", "the answer is 400")
class RejectsNoObject(RejectsEvents):
    def rejects(self, event, body):
        return event.get("eksternIdentifier", "").startswith("00000000-")


@broken("requires persons", "an event about an organisation", "the answer is 400")
class RequiresPersons(RejectsEvents):
    def rejects(self, event, body):
        return event.get("identifikationstypeId", 1) != 1


@broken("rejects an empty body", "an empty body", "the answer is 400")
class RejectsEmptyBody(RejectsEvents):
    def rejects(self, event, body):
        return event.get("body") == {}


@broken("requires fractions of seconds", "the examples of the contract", "the example 'minimal' of the contract")
class RequiresSeconds(RejectsEvents):
    def rejects(self, event, body):
        return "." not in event["tidspunkt"]


@broken("requires ASCII in versions", "generated deliveries", "a generated delivery must be answered with 2xx")
class RequiresAscii(RejectsEvents):
    def rejects(self, event, body):
        return not event.get("versionIdentifier", "").isascii()


@broken("rejects unknown headers", "headers of a trace and an unknown header", "the answer is 400")
class RejectsUnknownHeaders(RightReceiver):
    def accept(self, request):
        return 400 if "x-unknown" in request.headers else super().accept(request)


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


@broken("serves one request per connection", "several deliveries on one connection", "no answer")
class ServesOneRequest(RightReceiver):
    def respond(self, request):
        return super().respond(request) if request.number == 1 else None


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


@broken("ends before its answer does", "an event with all properties", "no answer after 0.0 s (lost")
class TruncatesAnswers(RightReceiver):
    content_length = 10

    def accept(self, request):
        super().accept(request)
        return 200


@broken("rejects Connection: close", "a client that reads slowly", "must be answered with 2xx")
class RejectsConnectionClose(RightReceiver):
    def respond(self, request):
        return 400 if request.headers.get("Connection") == "close" else super().respond(request)
