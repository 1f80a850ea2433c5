"""paramiko as client of our server; see ssh-python.sh."""

import io
import os
import sys

import paramiko

port, work = int(sys.argv[1]), sys.argv[2]
CIPHERS = [
    "aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-ctr",
]
MACS = [
    "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256",
    "hmac-sha2-512",
]


def connect(cipher=None, mac=None, **options):
    transport = paramiko.Transport(("127.0.0.1", port))
    security = transport.get_security_options()
    if cipher:
        security.ciphers = [cipher]
    if mac:
        security.digests = [mac]
    options = options or {"pkey": paramiko.Ed25519Key.from_private_key_file(f"{work}/user")}
    transport.connect(username="viper", **options)
    return transport


def run(transport, command):
    channel = transport.open_session()
    channel.exec_command(command)
    output = channel.makefile("rb").read()
    return output, channel.recv_exit_status()


offered = paramiko.Transport._preferred_ciphers
for cipher in [name for name in CIPHERS if name in offered]:
    for mac in MACS if cipher.endswith("ctr") else [None]:
        transport = connect(cipher, mac)
        assert run(transport, "echo hello; exit 3") == (b"hello\n", 3)
        transport.close()

connect(password="secret").close()
for key in ["user_ecdsa", "user_rsa"]:
    connect(pkey=paramiko.PKey.from_path(f"{work}/{key}")).close()
try:
    connect(password="wrong")
    sys.exit("a wrong password was accepted")
except paramiko.AuthenticationException:
    pass

transport = connect()
data = os.urandom(2_000_000)
sftp = paramiko.SFTPClient.from_transport(transport)
sftp.putfo(io.BytesIO(data), "/paramiko")
back = io.BytesIO()
sftp.getfo("/paramiko", back)
assert back.getvalue() == data
sftp.mkdir("/directory")
sftp.symlink("/paramiko", "/link")
assert sftp.readlink("/link") == "/paramiko"
names = {entry.filename for entry in sftp.listdir_attr("/")}
assert {"paramiko", "directory", "link"} <= names
for remove, name in [(sftp.remove, "/paramiko"), (sftp.remove, "/link"), (sftp.rmdir, "/directory")]:
    remove(name)
transport.renegotiate_keys()
assert run(transport, "exit 5") == (b"", 5)
channel = transport.open_channel("direct-tcpip", ("127.0.0.1", port), ("127.0.0.1", 1))
assert channel.recv(16).startswith(b"SSH-2.0-ViperSSH")
transport.close()
