"""The garbage collector while many objects are made."""

from __future__ import annotations

import gc
from contextlib import suppress

from colab_magics.core.common.bulk import uncollected


def test_it_is_held_back_only_within() -> None:
    """It runs again afterwards, whatever happened, and also where one such place lies in another."""
    assert gc.isenabled()
    with suppress(KeyError), uncollected():
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()


def test_who_has_turned_it_off_keeps_it_off() -> None:
    """It is not ours to turn on."""
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
