"""Sends back what comes, or checks that somebody does.

tcp_echo.py serve PORT
tcp_echo.py check PORT BYTES     half-closes behind the bytes, and wants all of them back
"""

import os
import socket
import sys
import threading

what, port = sys.argv[1], int(sys.argv[2])


def echo(peer):
    with peer:
        while part := peer.recv(65536):
            peer.sendall(part)


def send(peer, data):
    peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)


if what == "serve":
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            threading.Thread(target=echo, args=[server.accept()[0]], daemon=True).start()
data = os.urandom(int(sys.argv[3]))
with socket.create_connection(("127.0.0.1", port), 60) as peer:
    threading.Thread(target=send, args=[peer, data], daemon=True).start()
    back = bytearray()
    while part := peer.recv(65536):
        back += part
sys.exit(bytes(back) != data)
