"""What an address says of where it leads."""

from __future__ import annotations

from colab_magics.core.common.addresses import is_loopback


def test_only_this_machine_is_loopback() -> None:
    """A name that merely looks like a loopback address is none."""
    assert all(is_loopback(host) for host in ("localhost", "127.0.0.1", "127.8.8.8", "::1"))
    assert not any(is_loopback(host) for host in (None, "127.0.0.1.example.org", "example.org", "10.0.0.1"))
