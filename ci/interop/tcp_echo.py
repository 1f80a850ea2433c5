"""Sends back what comes, or checks that somebody does; or sends zeros to whoever asks.

tcp_echo.py serve PORT
tcp_echo.py zeros PORT BYTES
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


def zeros(peer, count):
    with peer:
        while count > 0:
            count -= peer.send(bytes(min(count, 65536)))


def send(peer, data):
    peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)


if what == "serve":
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            threading.Thread(target=echo, args=[server.accept()[0]], daemon=True).start()
if what == "zeros":
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            arguments = [server.accept()[0], int(sys.argv[3])]
            threading.Thread(target=zeros, args=arguments, daemon=True).start()
data = os.urandom(int(sys.argv[3]))
with socket.create_connection(("127.0.0.1", port), 60) as peer:
    threading.Thread(target=send, args=[peer, data], daemon=True).start()
    back = bytearray()
    while part := peer.recv(65536):
        back += part
sys.exit(bytes(back) != data)
