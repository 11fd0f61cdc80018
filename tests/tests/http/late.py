"""Connects, waits for a line, asks for a path over HTTP/2, and prints `200`, or `other` for any other answer."""
import socket, sys


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def text(index, value):
    return bytes([index, len(value)]) + value.encode()


address, port, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
made = socket.create_connection((address, port), 20)
print("connected", flush=True)
sys.stdin.readline()
head = b"\x82\x86" + text(4, path) + text(1, "far")
made.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(1, 5, 1, head))
came, answer = b"", None
while answer is None and (part := made.recv(65536)):
    came += part
    while len(came) >= 9 and len(came) >= 9 + (size := int.from_bytes(came[:3], "big")):
        if came[3] == 1:
            answer = "200" if came[9] == 0x88 else "other"
        came = came[9 + size :]
print("answer", answer, flush=True)
