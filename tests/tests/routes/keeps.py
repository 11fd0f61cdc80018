"""A client of HTTP/1.1 that keeps its connection: asks once, and says how the connection ends."""
import socket, sys

server = socket.create_connection((sys.argv[1], int(sys.argv[2])))
server.sendall(b"GET /kept HTTP/1.1\r\nHost: pay\r\n\r\n")
text = b""
while not text.endswith(b"}"):
    text += server.recv(65536)
print("answered", flush=True)
try:
    print("ended" if server.recv(1) == b"" else "more", flush=True)
except OSError as error:
    print("broken", error, flush=True)
