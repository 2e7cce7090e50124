"""Compare the peak memory of sending ten 10 MiB files to Open-E with our envelopes and with zeep.

Each sender runs in its own process against the mock's server in another one, on loopback. The result is the rise of the
sender's resident memory above the value right before the call, when the files are already in memory.

Run: python -m benchmarks.soap_memory
"""

import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

FILES = 10
FILE_SIZE = 10 * 2**20
NAMESPACE = "http://www.oeplatform.org/version/1.0/schemas/integration/callback"

WSDL = f"""<?xml version="1.0"?>
<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
  xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:t="{NAMESPACE}" targetNamespace="{NAMESPACE}">
<types><xs:schema targetNamespace="{NAMESPACE}" elementFormDefault="qualified">
  <xs:element name="addMessage"><xs:complexType><xs:sequence>
    <xs:element name="flowInstanceID" type="xs:int"/>
    <xs:element name="message" type="t:IntegrationMessage"/>
  </xs:sequence></xs:complexType></xs:element>
  <xs:complexType name="IntegrationMessage"><xs:sequence>
    <xs:element name="added" type="xs:dateTime"/>
    <xs:element name="attachments" type="t:Attachment" minOccurs="0" maxOccurs="unbounded"/>
    <xs:element name="message" type="xs:string"/>
  </xs:sequence></xs:complexType>
  <xs:complexType name="Attachment"><xs:sequence>
    <xs:element name="encodedData" type="xs:base64Binary"/>
    <xs:element name="filename" type="xs:string"/>
    <xs:element name="size" type="xs:long"/>
  </xs:sequence></xs:complexType>
  <xs:element name="addMessageResponse"><xs:complexType><xs:sequence>
    <xs:element name="messageID" type="xs:int"/>
  </xs:sequence></xs:complexType></xs:element>
</xs:schema></types>
<message name="request"><part name="parameters" element="t:addMessage"/></message>
<message name="response"><part name="parameters" element="t:addMessageResponse"/></message>
<portType name="IntegrationCallback"><operation name="addMessage">
  <input message="t:request"/><output message="t:response"/>
</operation></portType>
<binding name="callback" type="t:IntegrationCallback">
  <soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
  <operation name="addMessage"><soap:operation soapAction=""/>
    <input><soap:body use="literal"/></input><output><soap:body use="literal"/></output>
  </operation>
</binding>
<service name="IntegrationCallback"><port name="callback" binding="t:callback">
  <soap:address location="URL"/>
</port></service>
</definitions>
"""


def serve(port: str) -> None:
    """Run the mock's server until it is killed."""
    from mock_open_e import MockOpenE
    from mock_open_e.server.application import create_server

    create_server(MockOpenE(), "127.0.0.1", int(port)).run()


def send_with_our_client(url: str) -> None:
    from domain.web_messages import Attachment, ExternalReference, OepInstance, WebMessage
    from open_e.accounts import Account
    from open_e.client import OpenEClient

    files = tuple(
        Attachment(str(number), f"{number}.bin", "application/octet-stream", FILE_SIZE, "", os.urandom(FILE_SIZE))
        for number in range(FILES)
    )
    message = WebMessage("id", "Hej", (ExternalReference("flowInstanceId", "1068"),), attachments=files)
    client = OpenEClient({OepInstance.EXTERNAL: Account(url)}, connect_timeout=5, read_timeout=60, threads=1)
    measure(lambda: client.add_message(message, added=datetime.now(UTC), request_id="r"))
    client.close()


def send_with_zeep(url: str) -> None:
    import zeep

    with tempfile.TemporaryDirectory() as folder:
        wsdl = Path(folder) / "callback.wsdl"
        wsdl.write_text(WSDL.replace("URL", url))
        client = zeep.Client(str(wsdl))
    files = [
        {"encodedData": os.urandom(FILE_SIZE), "filename": f"{number}.bin", "size": FILE_SIZE}
        for number in range(FILES)
    ]
    message = {"added": datetime.now(UTC), "attachments": files, "message": "Hej"}
    measure(lambda: client.service.addMessage(flowInstanceID=1068, message=message))


def measure(call) -> None:
    """Print the rise of the peak resident memory in MB (10^6 bytes), and the duration of the call in seconds."""
    # Imports and set-up may have had a higher peak, so reset the kernel's value first.
    Path("/proc/self/clear_refs").write_text("5")
    before, started = read_peak(), time.monotonic()
    call()
    print(f"{(read_peak() - before) / 1e6:.0f} MB above idle, {time.monotonic() - started:.2f} s")


def read_peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/external/api/callback"
    itself = [sys.executable, "-m", "benchmarks.soap_memory"]
    mock = subprocess.Popen([*itself, "serve", str(port)])
    try:
        wait_for(port)
        print(
            f"sending {FILES} files of {FILE_SIZE / 2**20:.0f} MiB, {FILES * FILE_SIZE / 1e6:.0f} MB in memory already"
        )
        for name, title in [("ours", "own envelopes"), ("zeep", "zeep")]:
            result = subprocess.run([*itself, name, url], capture_output=True, text=True, timeout=120, check=False)
            print(f"{title}: {result.stdout.strip() or 'failed: ' + result.stderr.strip()[-300:]}")
    finally:
        mock.terminate()
        mock.wait(10)


def wait_for(port: int) -> None:
    ends = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.05)
        else:
            return


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        {"serve": serve, "ours": send_with_our_client, "zeep": send_with_zeep}[sys.argv[1]](sys.argv[2])
