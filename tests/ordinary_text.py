"""Two megabytes of what ordinary notebooks hold and print, from one seed: nothing in it is a secret."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import string
import sysconfig
import uuid
from pathlib import Path

SIZE = 2_000_000


def _code(chance: random.Random) -> str:
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return chance.choice(files).read_text("utf-8", "replace")[:20_000]


def _tables(chance: random.Random) -> str:
    rows = [[f"{chance.random():.6f}", hashlib.md5(chance.randbytes(4)).hexdigest()[:12], "abc..."] for _ in range(40)]
    boxes = ["\u2502 " + " \u2502 ".join(row) + " \u2502" for row in rows]
    return "\n".join(["| a | b | c |", "|---|---|---|", *("| " + " | ".join(row) + " |" for row in rows), *boxes])


def _digests(chance: random.Random) -> str:
    data = [chance.randbytes(16) for _ in range(60)]
    kinds = ("commit {}", "sha256:{}...", "md5 {}", "Downloading https://example.org/{}.whl (1.2 MB)")
    return "\n".join(chance.choice(kinds).format(hashlib.sha256(each).hexdigest()[: chance.choice((7, 40, 64))])
                     + f" {uuid.UUID(bytes=each)}" for each in data)  # fmt: skip


def _picture(chance: random.Random) -> str:
    return json.dumps(
        {"image/png": base64.b64encode(chance.randbytes(6000)).decode(), "text/plain": ["<Figure size ...>"]}
    )


def _log(chance: random.Random) -> str:
    line = "\x1b[32mEpoch {0}/10\x1b[0m ... loss={1:.4f} |{2:9}| {0}% /content/run_{0:04d}.ckpt"
    return "\n".join(line.format(n, chance.random(), "#" * (n % 9)) for n in range(60))


def _words(chance: random.Random) -> str:
    letters = string.ascii_letters + string.digits + "_-"
    return " ".join("".join(chance.choices(letters, k=chance.randint(2, 40))) for _ in range(200))


def _mentions(chance: random.Random) -> str:
    return (
        "A token begins with ghp_, glpat- or sk-ant-api03-...; set WANDB_API_KEY, or hf_hub_download(repo_id='a/b').\n"
    )


def corpus(seed: int = 1) -> str:
    """Return the text; the same seed gives the same one, on one version of Python."""
    chance, parts, size = random.Random(seed), [], 0
    while size < SIZE:
        make = chance.choice((_code, _tables, _digests, _picture, _log, _words, _mentions))
        parts.append(make(chance))
        size += len(parts[-1])
    return "\n".join(parts)
