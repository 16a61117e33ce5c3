"""The leak matrix: every way out of a real kernel, first shown to be open, then shown to be closed."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kernels import Said, holds, running
from leak_channels import CHANNELS, SECRETS, SETUP, TOKEN, WILD, Channel

pytest.importorskip("ipykernel")
pytestmark = pytest.mark.xdist_group("leaks")  # all channels are tried at once

ARM = """
from colab_magics import masking
masking.arm(get_ipython())
for secret in S, W, Q, L, K, J:
    masking.register(secret)
"""


def leaks(channel: Channel, text: str) -> bool:
    return holds(text, channel.needle())


def harvest(folder: Path, preparation: str, seen: Callable[[Channel, str], bool]) -> Iterator[tuple[str, str]]:
    """Run every channel in one kernel; yield its name and all that came out."""
    folder.mkdir()
    (folder / "secrets.json").write_text(json.dumps(SECRETS))
    with running(folder) as kernel:
        ready = kernel.run(SETUP + preparation)
        assert not ready.of("error"), ready.text
        for channel in CHANNELS:
            if channel.needs and importlib.util.find_spec(channel.needs) is None:
                continue

            def out(said: Said, channel: Channel = channel) -> str:
                file = folder / channel.file
                return said.text if not channel.file else file.read_bytes().decode("latin-1") if file.exists() else ""

            options = channel.options or {}
            if channel.ask:
                kernel.run(channel.code)
                said = kernel.ask(*channel.ask, **options)
            else:
                said = kernel.run(channel.code, answers=channel.answers, **options,
                                  until=lambda said, out=out, channel=channel: seen(channel, out(said)))  # fmt: skip
            yield channel.name, out(said)


@pytest.fixture(scope="module")
def harvests(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, str]]:
    """What comes out of a kernel without the mask, and of one with it: once for all processes that run tests."""
    folder = tmp_path_factory.mktemp("leaks")
    shared = folder.parent.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    file = shared / "harvests.json"
    with (shared / "harvests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            file.write_text(json.dumps(harvest_both(folder)))
        bare, armed = json.loads(file.read_text())
        return bare, armed


def harvest_both(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Try all channels without the mask and with it, side by side."""

    def marked(channel: Channel, text: str) -> bool:
        return channel.mark in text

    with ThreadPoolExecutor() as threads:
        bare = threads.submit(lambda: dict(harvest(folder / "bare", "", leaks)))
        armed = threads.submit(lambda: dict(harvest(folder / "armed", ARM, marked)))
        return bare.result(), armed.result()


def test_the_matrix_is_wide() -> None:
    """At least 250 different channels are tried, each under its own name."""
    assert len({channel.name for channel in CHANNELS}) == len(CHANNELS) >= 250


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.name)
def test_no_secret_gets_out(channel: Channel, harvests: tuple[dict[str, str], dict[str, str]]) -> None:
    """A secret that this channel lets out of a bare kernel does not leave a masked one; a mask does."""
    bare, armed = harvests
    if channel.name not in bare:
        pytest.skip(f"this channel is {channel.needs}, which is not installed")
    assert holds(bare[channel.name], channel.needle()), "this channel does not leak even without the mask"
    for form in (channel.needle(), TOKEN, WILD):
        assert not holds(armed[channel.name], form)
    assert channel.mark in armed[channel.name], "the text went missing, not only the secret"
