"""Somebody in the middle who makes TLS 1.2 of it: tls_downgrade.py PORT [SERVER-PORT]

With a server (of OpenSSL, as nginx is), the hello that it gets does not say that the client knows
TLS 1.3, but that it knows suites of TLS 1.2. The server takes it for an older client, and puts the
mark of RFC 8446, section 4.1.3, into its answer. Without, such an answer is made here.
"""

import socket
import struct
import sys
import threading

SUITES_1_2 = bytes.fromhex("c02bc02f")  # ECDHE with AES-128-GCM, by ECDSA and by RSA
VERSIONS = 43
NOBODYS = 0x0A0A  # an extension that is ignored


def older(record: bytes) -> bytes:
    """The ClientHello as an older client would have sent it."""
    at = 5 + 4 + 2 + 32
    at += 1 + record[at]
    suites = struct.unpack_from(">H", record, at)[0]
    hello = record[9:at] + struct.pack(">H", suites + len(SUITES_1_2)) + SUITES_1_2
    rest = bytearray(record[at + 2:])
    at = suites
    at += 1 + rest[at] + 2
    while at < len(rest):
        kind, length = struct.unpack_from(">HH", rest, at)
        if kind == VERSIONS:
            struct.pack_into(">H", rest, at, NOBODYS)
        at += 4 + length
    hello += bytes(rest)
    message = b"\1" + len(hello).to_bytes(3, "big") + hello
    return record[:3] + len(message).to_bytes(2, "big") + message


def one_record(peer: socket.socket) -> bytes:
    record = b""
    while len(record) < 5 or len(record) < 5 + struct.unpack_from(">H", record, 3)[0]:
        more = peer.recv(65536)
        if not more:
            return b""
        record += more
    return record


def relay(from_: socket.socket, to: socket.socket) -> None:
    try:
        while data := from_.recv(65536):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def between(peer: socket.socket, server_port: int) -> None:
    hello = one_record(peer)
    if hello:
        server = socket.create_connection(("127.0.0.1", server_port))
        server.sendall(older(hello))
        threading.Thread(target=relay, args=(peer, server), daemon=True).start()
        relay(server, peer)


def made_here(peer: socket.socket) -> None:
    hello = one_record(peer)
    if hello:
        session = hello[43:44 + hello[43]]
        answer = b"\3\3" + bytes(24) + b"DOWNGRD\1" + session + b"\xc0\x2b\0"
        message = b"\2" + len(answer).to_bytes(3, "big") + answer
        peer.sendall(b"\x16\3\3" + len(message).to_bytes(2, "big") + message)
        peer.recv(65536)


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    peer = listener.accept()[0]
    try:
        if len(sys.argv) > 2:
            between(peer, int(sys.argv[2]))
        else:
            made_here(peer)
    except OSError:
        pass
    peer.close()
