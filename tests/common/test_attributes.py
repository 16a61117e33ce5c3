"""What a file system refuses to keep is noted, and no error."""

import errno
import os
import threading
from contextvars import copy_context

import pytest

from colab_magics.core.common import attributes


def test_times_rights_and_links_are_kept_where_they_can_be(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"")
    with attributes.collected() as losses:
        attributes.set_mtime(file, 3 * 10**9)
        attributes.set_mode(file, 0o640)
        assert attributes.symlink("a", tmp_path / "b", "b")
    assert file.stat().st_mtime_ns == 3 * 10**9
    assert file.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "b").readlink().name == "a"
    assert losses.warning("x") is None


def test_one_warning_names_what_is_refused_in_whatever_thread(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOTSUP, "not supported")

    file = tmp_path / "a"
    file.write_bytes(b"")
    for name in ("utime", "chmod", "symlink"):
        monkeypatch.setattr(os, name, refuse)

    def work(number):
        attributes.set_mtime(file, 1)
        attributes.set_mode(file, 0o600)
        assert not attributes.symlink("a", tmp_path / "b", f"link{number}")

    with attributes.collected() as losses:
        threads = [threading.Thread(target=copy_context().run, args=(work, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert losses.warning("out") == (
        "the file system of 'out' does not keep times, rights and 4 symlinks (link0, link1, link2, ...); "
        "everything else is there"
    )


def test_a_real_failure_is_an_error(tmp_path):
    with attributes.collected() as losses:
        for call in (
            lambda: attributes.set_mtime(tmp_path / "none", 1),
            lambda: attributes.set_mode(tmp_path / "none", 0o600),
            lambda: attributes.symlink("a", tmp_path / "none" / "b", "b"),
        ):
            with pytest.raises(FileNotFoundError):
                call()
    assert losses.warning("x") is None
