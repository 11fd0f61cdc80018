"""HBONE spoken by hand, so that it can be spoken wrongly. Prints one JSON object: what came of it."""
import argparse, json, socket, ssl, struct

words = argparse.ArgumentParser()
words.add_argument("address")
words.add_argument("port", type=int)
words.add_argument("--bind")
words.add_argument("--cert", help="PEM with certificate and key")
words.add_argument("--ca")
words.add_argument("--tls12", action="store_true")
words.add_argument("--alpn", default="h2")
words.add_argument("--authority", default="")
words.add_argument("--method", default="CONNECT")
words.add_argument("--header", action="append", default=[], help="NAME=VALUE")
words.add_argument("--send", default="")
args = words.parse_args()
came = {}


def integer(value, bits, first=0):
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = [first | most], value - most
    while value >= 128:
        out.append(value % 128 | 128)
        value //= 128
    return bytes(out + [value])


def field(name, value):
    """RFC 7541 §6.2.2: a literal without indexing, name and value as they are."""
    return b"\0" + b"".join(integer(len(text), 7) + text for text in (name.encode(), value.encode()))


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def header_frames(block):
    """HEADERS and as many CONTINUATIONs as a frame's least size asks for."""
    parts = [block[at:at + 16384] for at in range(0, len(block), 16384)]
    last = len(parts) - 1
    frames = [frame(1 if n == 0 else 9, 4 if n == last else 0, 1, part) for n, part in enumerate(parts)]
    return b"".join(frames)


def status(block):
    """The first field of an answer: RFC 7541 appendix A, and the Huffman codes of digits."""
    while block[0] & 0xE0 == 0x20:
        block = block[1:]
    known = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}
    if block[0] in known:
        return known[block[0]]
    assert block[0] & 0x0F == 8, block.hex()
    text = block[2:2 + (block[1] & 0x7F)]
    if not block[1] & 0x80:
        return int(text)
    bits, out = "".join(f"{byte:08b}" for byte in text), ""
    codes = {"00000": "0", "00001": "1", "00010": "2"} | {f"{n + 0x16:06b}": str(n) for n in range(3, 10)}
    while len(out) < 3:
        code = next(code for code in codes if bits.startswith(code))
        out, bits = out + codes[code], bits[len(code):]
    return int(out)


def talk(tls):
    block = field(":method", args.method) + field(":authority", args.authority)
    block += b"".join(field(*header.split("=", 1)) for header in args.header)
    settings = frame(4, 0, 0, b"")
    tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + header_frames(block))
    got = tls.makefile("rb")
    data = b""
    while True:
        head = got.read(9)
        if len(head) < 9:
            came["end"] = "closed"
            break
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        payload = got.read(int.from_bytes(head[:3], "big"))
        if kind == 4 and not flags & 1:
            tls.sendall(frame(4, 1, 0, b""))
        elif kind == 7:
            came["goaway"] = int.from_bytes(payload[4:8], "big")
        elif kind == 3:
            came["reset"] = int.from_bytes(payload, "big")
            break
        elif kind == 1 and "status" not in came:
            came["status"] = status(payload)
            if came["status"] == 200:
                tls.sendall(frame(0, 1, 1, args.send.encode()))
        elif kind == 0:
            data += payload
        if stream == 1 and kind in (0, 1) and flags & 1:
            came["end"] = "stream"
            break
    came["data"] = data.decode(errors="replace")


context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_REQUIRED if args.ca else ssl.CERT_NONE
if args.ca:
    context.load_verify_locations(args.ca)
if args.cert:
    context.load_cert_chain(args.cert)
if args.tls12:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
if args.alpn:
    context.set_alpn_protocols([args.alpn])
try:
    source = (args.bind, 0) if args.bind else None
    plain = socket.create_connection((args.address, args.port), timeout=15, source_address=source)
    came["connected"] = True
    with context.wrap_socket(plain) as tls:
        came["tls"] = tls.version()
        talk(tls)
except OSError as error:
    came["error"] = str(error)
print(json.dumps(came))
