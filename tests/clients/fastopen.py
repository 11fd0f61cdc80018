"""Sends TEXT with TCP Fast Open (RFC 7413), half-closes after the first answer, reads to the end, prints JSON.

fastopen.py connect|sendto ADDRESS PORT TEXT
`connect` defers the handshake to the first write (TCP_FASTOPEN_CONNECT), `sendto` connects and sends in one
call (MSG_FASTOPEN).
"""
import json
import socket
import sys

TCP_FASTOPEN_CONNECT = 30  # include/uapi/linux/tcp.h

how, address, port, text = sys.argv[1:]
to = (address, int(port))
family = socket.AF_INET6 if ":" in address else socket.AF_INET
connection = socket.socket(family, socket.SOCK_STREAM)
if how == "connect":
    connection.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    connection.connect(to)
    connection.sendall(text.encode())
else:
    connection.sendto(text.encode(), socket.MSG_FASTOPEN, to)
received = connection.recv(65536)
peer, local = connection.getpeername(), connection.getsockname()
connection.shutdown(socket.SHUT_WR)
while part := connection.recv(65536):
    received += part
print(json.dumps({"peer": peer[:2], "local": local[0], "received": received.decode()}))
