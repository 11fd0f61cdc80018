"""Prints how this pod answers SYNs: `DESTINATION PORT syn-ack`, `… rst`. To be run before they come."""
import socket, struct

OUTGOING = 4
wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
wire.bind(("eth0", 3))
print("watching")
while True:
    packet, (_, _, kind, *_) = wire.recvfrom(2048)
    if kind != OUTGOING:
        continue
    if packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_TCP:
        destination, segment = socket.inet_ntop(socket.AF_INET, packet[16:20]), packet[20:]
    elif packet[0] >> 4 == 6 and packet[6] == socket.IPPROTO_TCP:
        destination, segment = socket.inet_ntop(socket.AF_INET6, packet[24:40]), packet[40:]
    else:
        continue
    port, flags = struct.unpack(">H", segment[2:4])[0], segment[13]
    word = "rst" if flags & 4 else "syn-ack" if flags & 0x12 == 0x12 else None
    if word:
        print(destination, port, word)
