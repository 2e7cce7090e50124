"""Receivers that each verify signatures wrongly in one way."""

import hmac
import json
import time
from base64 import b64decode, b64encode

from tests.receiver_tests.broken_table import BrokenReceivers
from tests.receiver_tests.right_receiver import Request, RightReceiver
from tests.webhook_receivers import KEY

BROKEN_SIGNATURES = BrokenReceivers()
broken = BROKEN_SIGNATURES.add


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


@broken("fails on a signature that is no base64", "a signature that is no base64", "the answer is 500")
class FailsOnBase64(RightReceiver):
    def is_authentic(self, request):
        for text in request.signatures.split():
            b64decode(text[3:].encode("ascii", "ignore")[:4], validate=True)
        return super().is_authentic(request)


@broken("accepts any two signatures", "two forged signatures", "accepted it (204)")
class AcceptsTwo(RightReceiver):
    def is_authentic(self, request):
        return len(request.signatures.split()) > 1 or super().is_authentic(request)


@broken("tries other timestamps", "another timestamp", "accepted it (204)")
class TriesTimestamps(RightReceiver):
    def is_authentic(self, request):
        if not request.timestamp.isdecimal():
            return False
        times = [str(int(request.timestamp) + shift) for shift in (-1, 0, 1)]
        signed = [f"{request.id}.{timestamp}.".encode() + request.body for timestamp in times]
        expected = {f"v1,{b64encode(hmac.digest(KEY, text, 'sha256')).decode()}" for text in signed}
        return bool(expected & set(request.signatures.split()))


class AcceptsTimestamps(RightReceiver):
    """Accepts some timestamps without a look at the clock."""

    def is_recent(self, request):
        return self.accepts(request.timestamp) or super().is_recent(request)

    def accepts(self, text):
        return False


@broken("takes an empty timestamp for now", "a timestamp that is empty", "accepted it (204)")
class AcceptsNoTimestamp(AcceptsTimestamps):
    def accepts(self, text):
        return not text


@broken("accepts dates", "a timestamp that is a date", "accepted it (204)")
class AcceptsDates(AcceptsTimestamps):
    def accepts(self, text):
        return text.endswith("Z")


@broken("accepts fractions", "a timestamp that is a fraction", "accepted it (204)")
class AcceptsFractions(AcceptsTimestamps):
    def accepts(self, text):
        return "." in text


@broken("accepts negative timestamps", "a timestamp that is negative", "accepted it (204)")
class AcceptsNegative(AcceptsTimestamps):
    def accepts(self, text):
        return text.startswith("-")


@broken("fails on a long timestamp", "a timestamp with 400 digits", "the answer is 500")
class FailsOnLongTimestamp(RightReceiver):
    def is_recent(self, request):
        return request.timestamp.isdecimal() and abs(time.time() - int(request.timestamp)) <= 300


@broken("fails without webhook-id", "no webhook-id", "the answer is 500")
class RequiresId(RightReceiver):
    def is_recent(self, request):
        return dict(request.headers)["webhook-id"] != "" and super().is_recent(request)


@broken("fails without webhook-timestamp", "no webhook-timestamp", "the answer is 500")
class RequiresTimestamp(RightReceiver):
    def is_recent(self, request):
        return dict(request.headers)["webhook-timestamp"] != "" and super().is_recent(request)


@broken("accepts an empty body", "a changed body that is empty", "accepted it (204)")
class AcceptsNothing(RightReceiver):
    def is_authentic(self, request):
        return not request.body or super().is_authentic(request)


@broken("decodes before it verifies", "a changed body that is not UTF-8", "the answer is 500")
class DecodesFirst(RightReceiver):
    def is_authentic(self, request):
        return request.body.decode() != "" and super().is_authentic(request)


class ReadsFirst(RightReceiver):
    """Reads the parsed body before it verifies, and answers 401 to what is no JSON."""

    def is_authentic(self, request):
        try:
            value = json.loads(request.body)
        except (ValueError, RecursionError):
            return False
        self.read(value)
        return super().is_authentic(request)

    def read(self, value):
        """Raise TypeError for some values."""


@broken("reads a list before it verifies", "a changed body that is a list", "the answer is 500")
class ReadsList(ReadsFirst):
    def read(self, value):
        if value is not None:
            value["beskedId"]


@broken("reads null before it verifies", "a changed body that is null", "the answer is 500")
class ReadsNull(ReadsFirst):
    def read(self, value):
        len(value)
