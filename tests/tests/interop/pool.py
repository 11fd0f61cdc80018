"""httpx: a pool of connections, bodies streamed both ways, an early answer, a denied path: `URL 1|2`.

Prints a line for each part that holds.
"""
import asyncio, hashlib, sys
import httpx

url, version = sys.argv[1:]
PIECES = [bytes([i % 251]) * 10_007 for i in range(300)]


async def pieces():
    for piece in PIECES:
        yield piece


def check(answer, status):
    assert answer.status_code == status, (answer, answer.text)
    assert answer.http_version == ("HTTP/2" if version == "2" else "HTTP/1.1"), answer.http_version


async def main():
    limits = httpx.Limits(max_connections=20, max_keepalive_connections=20)
    options = {"http1": version == "1", "http2": version == "2", "limits": limits, "timeout": 15}
    async with httpx.AsyncClient(base_url=url, **options) as client:
        answers = await asyncio.gather(*(client.get(f"/id/{i}") for i in range(120)))
        for i, answer in enumerate(answers):
            check(answer, 200)
            assert answer.text.startswith(f"{i} over "), (i, answer.text)
        print("pool")

        whole = hashlib.sha256(b"".join(PIECES)).hexdigest()
        answer = await client.post("/digest", content=pieces())
        check(answer, 200)
        assert answer.text == f"{300 * 10_007} {whole}", answer.text
        back = hashlib.sha256()
        async with client.stream("POST", "/echo", content=b"".join(PIECES)) as answer:
            check(answer, 200)
            async for piece in answer.aiter_bytes():
                back.update(piece)
        assert back.hexdigest() == whole
        print("streams")

        # Answered before it is read. Over HTTP/2 httpcore waits for a window to send the rest, also without a mesh.
        answer = await client.post("/early", content=PIECES[0] if version == "2" else b"".join(PIECES))
        check(answer, 413)
        check(await client.get("/id/after"), 200)
        print("refused")

        denied, fine = await asyncio.gather(client.get("/denied/x"), client.get("/id/beside"))
        check(denied, 403)
        assert denied.headers["weir-denied-by"] == "application shop/rules rule 0 (deny)", denied.headers
        check(fine, 200)
        print("denied")


asyncio.run(main())
