"""A server of websockets: returns what it is sent; by path it pings or closes. Says how each connection closed."""
import asyncio, sys
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def handle(socket):
    path = socket.request.path
    # By which of its addresses it was reached.
    way = "service" if socket.request.headers["host"].startswith(("10.96.", "[fd10:96:")) else "pod"
    try:
        if path == "/ping":
            await (await socket.ping(b"are you there"))
            await socket.send("there")
        elif path == "/by-server":
            await socket.close(4001, "enough")
        async for message in socket:
            await socket.send(message)
    except ConnectionClosed:
        pass
    await socket.wait_closed()
    print(path, socket.close_code, socket.close_reason, "over", way, flush=True)


async def main():
    async with serve(handle, None, int(sys.argv[1]), max_size=2**22, subprotocols=["echo"]) as server:
        print("listening", flush=True)
        await server.serve_forever()


asyncio.run(main())
