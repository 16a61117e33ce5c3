"""The credential helper that git starts: passes git's question to the broker and its answer back.

Run as ``python -I git_helper.py SOCKET get|store|erase``; the protocol is git-credential(1)'s. It knows no
secret of its own and stands alone, so that it starts fast.
"""

from __future__ import annotations

import socket
import sys


def main() -> int:
    """Relay one question."""
    path, operation = sys.argv[1], sys.argv[2]
    question = f"{operation}\n".encode() + sys.stdin.buffer.read()
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(30)
            line.connect(path)
            line.sendall(question)
            line.shutdown(socket.SHUT_WR)
            while piece := line.recv(4096):
                sys.stdout.buffer.write(piece)
    except OSError:
        # The broker has gone: git must not go on to ask anybody else.
        sys.stdout.buffer.write(b"quit=1\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
