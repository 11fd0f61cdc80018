"""Fetches PATH from every ADDRESS PORT with asyncio streams, several at once, and prints a line for each.

asyncio_get.py PATH (ADDRESS PORT)…
A line is: peer's address, status, length of the body, its SHA-256.
"""
import asyncio
import hashlib
import sys

AT_ONCE = 8


async def get(path, address, port):
    reader, writer = await asyncio.open_connection(address, port)
    peer = writer.get_extra_info("peername")[0]
    writer.write(f"GET {path} HTTP/1.1\r\nHost: pay\r\nConnection: close\r\n\r\n".encode())
    await writer.drain()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return f"{peer} {head.split()[1].decode()} {len(body)} {hashlib.sha256(body).hexdigest()}"


async def main(path, *where):
    targets = list(zip(where[::2], where[1::2])) * AT_ONCE
    for line in await asyncio.gather(*(get(path, *target) for target in targets)):
        print(line)


asyncio.run(main(*sys.argv[1:]))
