"""The credential helper that git starts: passes git's question to the broker and its answer back.

Run as ``python -I -S credential_helper.py SOCKET get|erase``; the protocol is git-credential(1)'s. Installers run it as
``... SOCKET keyring [--mode=creds] [--output=json] get SERVICE [USERNAME]`` for the password of an index; that is the
command line of keyring. It knows no secret of its own, and imports only what is built in: it is started anew for every
request that needs a token. In a clone that was left to its owner it runs as ``python -I ... SOCKET clone``: the socket
may have gone, and a token is then looked for here.
"""

from __future__ import annotations

import _socket
import os
import sys

_PATIENCE = 30.0  # seconds


def main() -> int:
    """Relay one question."""
    path, operation, *words = sys.argv[1:]
    if operation == "keyring":
        return keyring(path, words)
    question = b""
    while piece := os.read(0, 4096):
        question += piece
    if operation == "clone":
        return clone(path, question)
    question = f"{operation}\n".encode() + question
    # Without an answer the broker has gone: git must not go on to ask anybody else.
    answer = ask(path, question)
    os.write(1, b"quit=1\n" if answer is None else answer)
    return 0


def clone(path: str, question: bytes) -> int:
    """Answer git in a clone, while the process that made it runs and afterwards."""
    answer = ask(path, b"get\n" + question)
    if answer in {None, b"quit=1\n"}:
        from colab_magics.core.git.broker import answer_clone  # here: the other questions need not wait for it

        answer = answer_clone(question.decode())
    os.write(1, answer or b"")
    return 0


def keyring(path: str, words: list[str]) -> int:
    """Answer as the keyring command does; status 1 is its way of saying that it has nothing."""
    named: list[str] = []
    options: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        (options if word.startswith("-") or before in {"--mode", "--output"} else named).append(word)
    if named[:1] != ["get"] or len(named) < 2:
        return 1
    username, _, password = (ask(path, "\n".join(["keyring", *named[1:3]]).encode()) or b"").decode().partition("\n")
    if not password:
        return 1
    line = f"{password}\n"
    if any(word.endswith("creds") for word in options):
        line = f"{username}\n{password}\n"
    if any(word.endswith("json") for word in options):
        import json  # here: git's questions need not wait for it

        line = json.dumps({"username": username, "password": password})
    os.write(1, line.encode())
    return 0


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
    sys.exit(main())
