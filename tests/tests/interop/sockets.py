"""websockets against the server beside this: `URL`. Prints a line for each part that holds."""
import asyncio, os, sys
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

url = sys.argv[1]
options = {"subprotocols": ["echo"], "max_size": 2**22, "open_timeout": 15, "ping_interval": None}


async def main():
    async with connect(f"{url}/echo", **options) as socket:
        assert socket.subprotocol == "echo", socket.subprotocol
        for message in ["text", "", "größer", b"\x00\xff bytes", "x" * 125, "x" * 126, "x" * 65536]:
            await socket.send(message)
            back = await socket.recv()
            assert back == message, (message, back)
        print("echo")

        # Does not compress, and is sent in pieces while others come back.
        message = os.urandom(2**20)
        await socket.send([message[at : at + 65521] for at in range(0, len(message), 65521)])
        assert await socket.recv() == message
        await asyncio.gather(*(socket.send(str(i)) for i in range(500)))
        back = [await socket.recv() for _ in range(500)]
        assert sorted(back, key=int) == [str(i) for i in range(500)]
        print("large")

        await (await socket.ping(b"here"))
        print("ping")
    async with connect(f"{url}/ping", **options) as socket:
        assert await socket.recv() == "there"
        print("server pings")

    socket = await connect(f"{url}/by-client", compression=None, **options)
    await socket.close(3000, "done")
    print("closed by the client")

    async with connect(f"{url}/by-server", **options) as socket:
        try:
            await socket.recv()
        except ConnectionClosed as closed:
            print("closed by the server", closed.rcvd.code, closed.rcvd.reason)

    # Goes without a word, as a process that is killed does.
    socket = await connect(f"{url}/lost", **options)
    socket.transport.abort()
    print("lost")

    try:
        await connect(f"{url}/denied/x", **options)
    except InvalidStatus as refused:
        assert refused.response.headers["weir-denied-by"] == "application shop/rules rule 0 (deny)"
        print("denied", refused.response.status_code)


asyncio.run(main())
