"""The credential helper that git starts: passes git's question to the broker and its answer back.

Run as ``python -I -S credential_helper.py SOCKET get|erase``; the protocol is git-credential(1)'s. It knows no secret
of its own, and imports only what is built in: it is started anew for every request that needs a token. In a clone that
was left to its owner it runs as ``python -I ... SOCKET clone``: the socket may have gone, and a token is then looked
for here.
"""

from __future__ import annotations

import _socket
import os
import sys

_PATIENCE = 30.0  # seconds


def main() -> None:
    """Relay one question."""
    path, operation = sys.argv[1:3]
    question = b""
    while piece := os.read(0, 4096):
        question += piece
    if operation == "clone":
        answer = in_clone(path, question)
    else:
        answer = ask(path, f"{operation}\n".encode() + question)
    # Without an answer the broker has gone: git must not go on to ask anybody else.
    os.write(1, b"quit=1\n" if answer is None else answer)


def in_clone(path: str, question: bytes) -> bytes | None:
    """Answer git in a clone, while the process that made it runs and afterwards."""
    answer = ask(path, b"get\n" + question)
    if answer in {None, b"quit=1\n"}:
        from colab_magics.core.git.broker import answer_clone  # here: the other questions need not wait for it

        answer = answer_clone(question.decode())
    return answer


def ask(path: str, question: bytes) -> bytes | None:
    """Return the broker's answer, or None when it does not answer."""
    answer = b""
    try:
        line = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        line.settimeout(_PATIENCE)
        line.connect(path)
        while question:
            question = question[line.send(question) :]
        line.shutdown(_socket.SHUT_WR)
        while piece := line.recv(4096):
            answer += piece
    except OSError:
        return None
    return answer


if __name__ == "__main__":
    main()
