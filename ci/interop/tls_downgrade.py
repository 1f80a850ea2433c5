"""Somebody in the middle who makes TLS 1.2 of it: tls_downgrade.py PORT

The answer has the mark of RFC 8446, section 4.1.3, as a server's would that knows TLS 1.3.
"""

import socket
import sys

listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    peer = listener.accept()[0]
    hello = peer.recv(65536)
    if len(hello) > 44:
        session = hello[43:44 + hello[43]]
        answer = b"\3\3" + bytes(24) + b"DOWNGRD\1" + session + b"\xc0\x2b\0"
        message = b"\2" + len(answer).to_bytes(3, "big") + answer
        peer.sendall(b"\x16\3\3" + len(message).to_bytes(2, "big") + message)
        peer.recv(65536)
    peer.close()
