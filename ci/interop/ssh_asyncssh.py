"""asyncssh as client of our server, or as server for our client; see ssh-python.sh."""

import asyncio
import os
import sys

import asyncssh

KEX = ["mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org"]
CIPHERS = [
    "chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-gcm@openssh.com",
    "aes256-ctr", "aes192-ctr", "aes128-ctr",
]
MACS = [
    "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256",
    "hmac-sha2-512",
]


def kex_here():
    """The key exchange methods that this asyncssh has too."""
    known = {name.decode() for name in asyncssh.kex.get_kex_algs()}
    return [name for name in KEX if name in known]


async def client(port, work):
    def connect(**options):
        options.setdefault("client_keys", [f"{work}/user"])
        return asyncssh.connect(
            "127.0.0.1", port, username="viper", known_hosts=None, config=None,
            agent_path=None, login_timeout=600, **options)

    for name in kex_here():
        async with connect(kex_algs=[name]) as connection:
            result = await connection.run("echo hello; echo error >&2; exit 4")
            assert (result.stdout, result.stderr) == ("hello\n", "error\n"), result
            assert result.exit_status == 4, result
    for cipher in CIPHERS:
        for mac in MACS if cipher.endswith("ctr") else MACS[:1]:
            async with connect(encryption_algs=[cipher], mac_algs=[mac]) as connection:
                assert connection.get_extra_info("send_cipher") == cipher
                result = await connection.run("seq 20000", check=True)
                assert result.stdout.splitlines()[-1] == "20000"
    for alg in ["ssh-ed25519", "ecdsa-sha2-nistp256"]:
        async with connect(server_host_key_algs=[alg]) as connection:
            await connection.run("true", check=True)
    async with connect(client_keys=None, password="secret") as connection:
        await connection.run("true", check=True)
    try:
        async with connect(client_keys=None, password="wrong"):
            raise AssertionError("a wrong password was accepted")
    except asyncssh.PermissionDenied:
        pass
    data = os.urandom(4_000_000)
    async with connect() as connection:
        result = await connection.run("cat", input=data, encoding=None)
        assert result.stdout == data
        async with connection.start_sftp_client() as sftp:
            async with sftp.open("/python", "wb") as file:
                await file.write(data)
            async with sftp.open("/python", "rb") as file:
                assert await file.read() == data
            assert (await sftp.stat("/python")).size == len(data)
            await sftp.rename("/python", "/python2")
            assert "python2" in await sftp.listdir("/")
            await sftp.remove("/python2")
            assert not await sftp.exists("/python2")
        listener = await connection.forward_local_port("127.0.0.1", 0, "127.0.0.1", port)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.get_port())
        assert (await reader.readline()).startswith(b"SSH-2.0-ViperSSH")
        writer.close()
        sessions = [connection.run(f"echo {i}; exit {i}") for i in range(8)]
        for i, result in enumerate(await asyncio.gather(*sessions)):
            assert (result.stdout, result.exit_status) == (f"{i}\n", i), result


class Server(asyncssh.SSHServer):
    def password_auth_supported(self):
        return True

    def validate_password(self, username, password):
        return password == "secret"

    def kbdint_auth_supported(self):
        return True

    def get_kbdint_challenge(self, username, lang, submethods):
        return "", "", "", [("Password: ", False)]

    def validate_kbdint_response(self, username, responses):
        return responses == ["secret"]


async def handle(process):
    command = process.command or ""
    process.exit(int(command.removeprefix("exit ")) if command.startswith("exit ") else 0)


async def server(port, work):
    await asyncssh.create_server(
        Server, "127.0.0.1", port,
        server_host_keys=[f"{work}/host_{kind}" for kind in ["ed25519", "ecdsa", "rsa"]],
        authorized_client_keys=f"{work}/authorized_keys", process_factory=handle,
        kex_algs=kex_here(), encryption_algs=CIPHERS, mac_algs=MACS,
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=work))
    await asyncio.Event().wait()


match sys.argv[1:]:
    case ["kex"]:
        print("\n".join(kex_here()))
    case ["client", port, work]:
        asyncio.run(client(int(port), work))
    case ["server", port, work]:
        asyncio.run(server(int(port), work))
