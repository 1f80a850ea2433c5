"""asyncssh and paramiko as clients of the guest's server; see ssh-guest.sh."""

import asyncio
import os
import sys

mode, port, work = sys.argv[1], int(sys.argv[2]), sys.argv[3]
data = os.urandom(1_000_000)


async def with_asyncssh():
    import asyncssh

    def connect(**options):
        options.setdefault("client_keys", [f"{work}/user"])
        return asyncssh.connect("127.0.0.1", port, username="viper", known_hosts=None,
                                config=None, agent_path=None, **options)

    for cipher in ["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr"]:
        async with connect(encryption_algs=[cipher]) as connection:
            result = await connection.run("Echo hello; exit 5")
            assert (result.stdout, result.exit_status) == ("hello\n", 5), result
    async with connect(client_keys=None, password="viper") as connection:
        await connection.run("Echo in", check=True)
    async with connect() as connection:
        async with connection.start_sftp_client() as sftp:
            async with sftp.open("/t/python", "wb") as file:
                await file.write(data)
            async with sftp.open("/t/python", "rb") as file:
                assert await file.read() == data
            assert (await sftp.stat("/t/python")).size == len(data)
            await sftp.rename("/t/python", "/t/python2")
            assert "python2" in await sftp.listdir("/t")
            await sftp.remove("/t/python2")
            assert not await sftp.exists("/t/python2")
        sessions = [connection.run(f"Echo {i}; exit {i}") for i in range(4)]
        for i, result in enumerate(await asyncio.gather(*sessions)):
            assert (result.stdout, result.exit_status) == (f"{i}\n", i), result


def with_paramiko():
    import io

    import paramiko

    transport = paramiko.Transport(("127.0.0.1", port))
    key = paramiko.Ed25519Key.from_private_key_file(f"{work}/user")
    transport.connect(username="viper", pkey=key)
    sftp = paramiko.SFTPClient.from_transport(transport)
    sftp.putfo(io.BytesIO(data), "/t/paramiko")
    back = io.BytesIO()
    sftp.getfo("/t/paramiko", back)
    assert back.getvalue() == data
    sftp.remove("/t/paramiko")
    transport.renegotiate_keys()
    channel = transport.open_session()
    channel.exec_command("Echo hello; exit 10")
    assert channel.makefile("rb").read() == b"hello\n"
    assert channel.recv_exit_status() == 10
    transport.close()


asyncio.run(with_asyncssh()) if mode == "asyncssh" else with_paramiko()
