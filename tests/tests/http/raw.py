"""Says bytes over one connection, half-closes, and prints as JSON what came back: for each text of the arguments."""
import json, socket, sys

address, port = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
answers = []
for text in json.loads(sys.argv[3]):
    made = socket.socket(family)
    made.settimeout(10)
    came = b""
    try:
        made.connect((address, port))
        made.sendall(text.encode("latin-1"))
        made.shutdown(socket.SHUT_WR)
        while part := made.recv(65536):
            came += part
    except OSError as error:
        came += f" [{type(error).__name__}]".encode()
    made.close()
    answers.append(came.decode("latin-1"))
print(json.dumps(answers))
