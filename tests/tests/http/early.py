"""A server of HTTP/2 that says its preface as soon as somebody is there, and 200 to whatever is asked."""
import socket, sys, threading


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def read(made, count):
    came = b""
    while len(came) < count:
        part = made.recv(count - len(came))
        if not part:
            raise EOFError
        came += part
    return came


def serve(made):
    made.sendall(frame(4, 0, 0, b"\0\3\0\0\0\x64"))
    print("spoke", flush=True)
    try:
        read(made, 24)
        while True:
            head = read(made, 9)
            read(made, int.from_bytes(head[:3], "big"))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind == 4 and not flags & 1:
                made.sendall(frame(4, 1, 0))
            if kind == 1:
                print("heard", flush=True)
                made.sendall(frame(1, 5, stream, b"\x88"))
    except (EOFError, OSError):
        made.close()


listener = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
print("listening", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
