"""Have the server of `tests.warm_commands` run a program in place of this one, until either of them ends.

The arguments are the address of the server, the name of the program, and the program's own arguments. The program gets
the environment, folder, umask, streams and signals of this process, which ends with its exit code.
"""

import marshal
import os
import signal
import socket
import sys

address, *arguments = sys.argv[1:]
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect(address)
for handled in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    signal.signal(handled, lambda number, _: server.send(bytes([number])))
folder = os.getcwd()  # noqa: PTH109  # The import of pathlib takes longer than all others.
request = marshal.dumps((arguments, dict(os.environ), folder, os.umask(0)))
socket.send_fds(server, [request], [0, 1, 2])
code = int.from_bytes(server.recv(4), signed=True)
# A shell returns such a code for a program that a signal has ended.
sys.exit(code if code >= 0 else 128 - code)
