"""Sends one SYN with any source, as CAP_NET_RAW allows: forge.py SOURCE PORT DESTINATION PORT."""
import socket, struct, sys

source, destination = sys.argv[1], sys.argv[3]
ports = int(sys.argv[2]), int(sys.argv[4])
family = socket.AF_INET6 if ":" in destination else socket.AF_INET
ends = socket.inet_pton(family, source) + socket.inet_pton(family, destination)


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def syn(check):
    return struct.pack(">HHIIBBHHH", *ports, 0x1234567, 0, 5 << 4, 2, 64240, check, 0)


# TCP's checksum covers the same sum of addresses, protocol and length for both families.
segment = syn(checksum(ends + struct.pack(">II", 20, socket.IPPROTO_TCP) + syn(0)))
if family == socket.AF_INET:
    header = struct.pack(">BBHHHBBH", 0x45, 0, 40, 1, 0x4000, 64, socket.IPPROTO_TCP, 0) + ends
else:
    header = struct.pack(">IHBB", 6 << 28, 20, socket.IPPROTO_TCP, 64) + ends
with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
    raw.sendto(header + segment, (destination, 0))
print("sent")
