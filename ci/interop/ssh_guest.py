"""One thing that asyncssh or paramiko does as a client of the guest's server; see ssh-guest.sh.

ssh_guest.py asyncssh|paramiko GUEST-PORT WORK WHAT [ALGORITHM]
ssh_guest.py questions PORT WORK      asyncssh as a server that asks questions
ssh_guest.py serve PORT WORK kex|cipher|MAC|"host key" ALGORITHM
                                      asyncssh as a server that has nothing else, and sends back
"""

import asyncio
import io
import os
import sys

peer, port, work = sys.argv[1], int(sys.argv[2]), sys.argv[3]
what = sys.argv[4] if len(sys.argv) > 4 else ""
value = sys.argv[5] if len(sys.argv) > 5 else ""
data = os.urandom(300_000)


async def with_asyncssh():
    import asyncssh

    def connect(**options):
        options.setdefault("client_keys", [f"{work}/user"])
        return asyncssh.connect("127.0.0.1", port, username="viper", known_hosts=None,
                                config=None, agent_path=None, login_timeout=100, **options)

    async def there_and_back(connection):
        async with connection.start_sftp_client() as sftp:
            async with sftp.open("/t/asyncssh", "wb") as file:
                await file.write(data)
            async with sftp.open("/t/asyncssh", "rb") as file:
                assert await file.read() == data
            assert (await sftp.stat("/t/asyncssh")).size == len(data)
            await sftp.rename("/t/asyncssh", "/t/asyncssh2")
            assert "asyncssh2" in await sftp.listdir("/t")
            await sftp.remove("/t/asyncssh2")
            assert not await sftp.exists("/t/asyncssh2")

    async def algorithm(known, **options):
        async with connect(**options) as connection:
            for name in known:
                assert connection.get_extra_info(name) == value, name
            result = await connection.run("Echo hello; exit 5")
            assert (result.stdout, result.exit_status) == ("hello\n", 5), result
            await there_and_back(connection)

    match what:
        case "kex":
            await algorithm([], kex_algs=[value])
        case "cipher":
            await algorithm(["send_cipher", "recv_cipher"], encryption_algs=[value])
        case "MAC":
            await algorithm(["send_mac", "recv_mac"], encryption_algs=["aes128-ctr"],
                            mac_algs=[value])
        case "host key":
            await algorithm([], server_host_key_algs=[value])
        case "password":
            async with connect(client_keys=None, password="viper") as connection:
                await connection.run("Echo in", check=True)
            try:
                async with connect(client_keys=None, password="wrong"):
                    raise AssertionError("a wrong password was accepted")
            except asyncssh.PermissionDenied:
                pass
        case "new keys":
            async with connect(rekey_bytes="64k") as connection:
                for _ in range(4):
                    await there_and_back(connection)
        case "sessions":
            async with connect() as connection:
                sessions = [connection.run(f"Echo {i}; exit {i}") for i in range(8)]
                for i, result in enumerate(await asyncio.gather(*sessions)):
                    assert (result.stdout, result.exit_status) == (f"{i}\n", i), result
        case "signal":
            async with connect() as connection:
                for signal in ["TERM", "INT", "KILL"]:
                    process = await connection.create_process("Echo on; Wait 600 SECS")
                    assert await process.stdout.readline() == "on\n"
                    process.send_signal(signal)
                    result = await process.wait()
                    # The shell ends by itself when it is interrupted.
                    if signal != "INT" or result.exit_signal:
                        assert result.exit_signal[0] == signal, result
                    else:
                        assert result.exit_status > 0, result
        case "environment":
            async with connect() as connection:
                for text in ["plain", "two words", "ü ☃", "", "a=b;c", "x" * 4000]:
                    result = await connection.run('Echo "[$VALUE]"', env={"VALUE": text})
                    assert result.stdout == f"[{text}]\n", result
        case "forward":
            async with connect() as connection:
                listener = await connection.forward_local_port("127.0.0.1", 0, "localhost", 22)
                end = await asyncio.open_connection("127.0.0.1", listener.get_port())
                assert (await end[0].readline()).startswith(b"SSH-2.0-ViperSSH")
                end[1].close()
        case _:
            sys.exit(f"{what}?")


def with_paramiko():
    import paramiko

    transport = paramiko.Transport(("127.0.0.1", port))
    transport.banner_timeout = transport.auth_timeout = 100
    options = transport.get_security_options()
    match what:
        case "kex":
            options.kex = [value]
        case "cipher":
            options.ciphers = [value]
        case "MAC":
            options.ciphers = ["aes128-ctr"]
            options.digests = [value]
        case "host key":
            options.key_types = [value]
    credential = {"pkey": paramiko.Ed25519Key.from_private_key_file(f"{work}/user")}
    if what == "password":
        credential = {"password": "viper"}
    transport.connect(username="viper", **credential)
    match what:
        case "cipher":
            assert transport.remote_cipher == transport.local_cipher == value
        case "MAC":
            assert transport.remote_mac == transport.local_mac == value
        case "host key":
            assert transport.get_remote_server_key().get_name() == value
    channel = transport.open_session()
    channel.exec_command("Echo hello; exit 10")
    assert channel.makefile("rb").read() == b"hello\n"
    assert channel.recv_exit_status() == 10
    sftp = paramiko.SFTPClient.from_transport(transport)
    for _ in range(1 + 3 * (what == "new keys")):
        sftp.putfo(io.BytesIO(data), "/t/paramiko")
        if what == "new keys":
            transport.renegotiate_keys()
        back = io.BytesIO()
        sftp.getfo("/t/paramiko", back)
        assert back.getvalue() == data
    sftp.remove("/t/paramiko")
    transport.close()


async def ask_questions():
    import asyncssh

    class Server(asyncssh.SSHServer):
        def begin_auth(self, username):
            return True

        def password_auth_supported(self):
            return False

        def public_key_auth_supported(self):
            return False

        def kbdint_auth_supported(self):
            return True

        def get_kbdint_challenge(self, username, lang, submethods):
            return "", "", "", [("Colour? ", True), ("Code: ", False)]

        def validate_kbdint_response(self, username, responses):
            return responses == ["green", "secret"]

    async def handle(process):
        process.exit(int((process.command or "exit 0").removeprefix("exit ")))

    await asyncssh.create_server(Server, "127.0.0.1", port,
                                 server_host_keys=[f"{work}/host_ed25519"],
                                 process_factory=handle)
    await asyncio.Event().wait()


async def serve():
    import asyncssh

    options = {"server_host_keys": [f"{work}/host_ed25519"]}
    match what:
        case "kex":
            options["kex_algs"] = [value]
        case "cipher":
            options["encryption_algs"] = [value]
        case "MAC":
            options |= {"encryption_algs": ["aes128-ctr"], "mac_algs": [value]}
        case "host key":
            options["server_host_keys"] = [f"{work}/host_{value}"]

    async def handle(process):
        process.stdout.write(await process.stdin.read())
        process.exit(0)

    await asyncssh.create_server(asyncssh.SSHServer, "127.0.0.1", port, encoding=None,
                                 authorized_client_keys=f"{work}/authorized_keys",
                                 process_factory=handle, **options)
    await asyncio.Event().wait()


match peer:
    case "serve":
        asyncio.run(serve())
    case "asyncssh":
        asyncio.run(with_asyncssh())
    case "paramiko":
        with_paramiko()
    case "questions":
        asyncio.run(ask_questions())
