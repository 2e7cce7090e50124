"""Hand-written SOAP requests for the mock Open-E, and Open-E's responses to them."""

NS = "http://www.oeplatform.org/version/1.0/schemas/integration/callback"
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
UTF8 = "text/xml; charset=UTF-8"
GOOD = "<added>2026-02-19T07:57:06.123+01:00</added><message>Hej &lt;b&gt; åäö&#13;\nrad 2</message>"
FILE = "<encodedData>aGVq</encodedData><filename>test.pdf</filename><size>3</size>"


def build_request(body, header=""):
    return f'<Envelope xmlns="{SOAP}">{header}<Body>{body}</Body></Envelope>'


def add_message(case="<flowInstanceID>1068</flowInstanceID>", message=GOOD, rest=""):
    return build_request(f'<addMessage xmlns="{NS}">{case}<message>{message}</message>{rest}</addMessage>')


def build_request_with_file(file):
    return add_message(message=f"{GOOD}<attachments>{file}</attachments>")


def send(mock, body, content_type=UTF8, instance="external", **headers):
    headers = {"content-type": content_type, **headers}
    encoded = body.encode() if isinstance(body, str) else body
    return mock.respond(instance, {name: value for name, value in headers.items() if value}, encoded)


def build_fault(text, code="Server", detail=None):
    entry = f'<detail><{detail} xmlns="{NS}"/></detail>' if detail else ""
    return (
        "<?xml version='1.0' encoding='UTF-8'?>"
        f'<S:Envelope xmlns:S="{SOAP}"><S:Body><S:Fault xmlns:ns4="http://www.w3.org/2003/05/soap-envelope">'
        f"<faultcode>S:{code}</faultcode><faultstring>{text}</faultstring>{entry}</S:Fault></S:Body></S:Envelope>"
    )


def build_not_found(case):
    return build_fault(f"The requested flow instance with ID {case} was not found", detail="FlowInstanceNotFoundFault")
