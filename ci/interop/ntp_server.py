"""A time server (SNTP, RFC 4330) that is so many seconds off: ntp_server.py PORT SECONDS"""

import socket
import struct
import sys
import time

SINCE_1900 = 2_208_988_800

port, shift = int(sys.argv[1]), int(sys.argv[2])
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", port))


def stamp():
    now = time.time() + shift + SINCE_1900
    return struct.pack(">Q", int(now * 2**32) % 2**64)


while True:
    request, client = server.recvfrom(512)
    if len(request) < 48:
        continue
    came = stamp()
    # No warning, version 4, server; stratum 2, precision of a microsecond.
    head = struct.pack(">BBbb", 0o44, 2, 6, -20) + bytes(8) + b"TEST"
    server.sendto(head + came + request[40:48] + came + stamp(), client)
