"""Looks at what goes over a link: wire.py DEVICE TEXT

Prints `listening`, and at the end of its input how much there was, whether it was TLS, and whether TEXT could
be read in it.
"""

import select
import socket
import struct
import sys

EVERY_PROTOCOL = 0x0003
IPV4, TCP = 0x0800, 6


def tcp_payload(frame):
    """What a TCP segment in an IPv4 packet in an Ethernet frame carries."""
    kind = struct.unpack("!H", frame[12:14])[0]
    packet = frame[14:]
    if kind != IPV4 or packet[9] != TCP:
        return b""
    length = struct.unpack("!H", packet[2:4])[0]
    segment = packet[(packet[0] & 0x0F) * 4 : length]
    return segment[(segment[12] >> 4) * 4 :]


def main(device, text):
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERY_PROTOCOL))
    link.bind((device, 0))
    print("listening", flush=True)
    segments = total = tls = 0
    seen = False
    while True:
        ready, _, _ = select.select([link, sys.stdin], [], [])
        if link in ready:
            payload = tcp_payload(link.recv(1 << 17))
            if payload:
                segments += 1
                total += len(payload)
                # A record of TLS 1.3 begins with its kind (handshake, data) and the version 3.1 or 3.3.
                tls += payload[0] in (0x16, 0x17) and payload[1] == 3
                seen = seen or text.encode() in payload
        elif sys.stdin in ready:
            break
    found = "is there to read" if seen else "is nowhere to be read"
    print(f"{segments} segments, {total} bytes; {tls} of them begin a TLS record; {text!r} {found}")


main(*sys.argv[1:])
