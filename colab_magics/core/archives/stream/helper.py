"""A process that unpacks members which lie in memory that it shares with the process that receives them."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from multiprocessing.connection import Connection

from colab_magics.core.archives.unpacker import Unpacker
from colab_magics.core.common.attributes import collected

__all__ = ["serve"]


def serve(connection: int, memory: int, tree: int, parent: int) -> None:
    """Do what comes over a connection, until it ends.

    Parameters
    ----------
    connection, memory, tree : int
        Descriptors: of the connection, of what is shared, and of the folder to write to.
    parent : int
        Number of the process at the other end. Once it is gone nobody wants the rest, and the next run may be clearing
        it away.
    """
    with Connection(connection) as other, collected() as losses, suppress(EOFError, ConnectionError):
        unpacker = Unpacker(tree, other.recv(), memoryview(mmap.mmap(memory, 0)))
        while True:
            what, args = other.recv()
            if os.getppid() != parent:
                return
            failure = None
            try:
                what(unpacker, *args)
            except Exception as error:  # noqa: BLE001 - it is raised in the other process, which then ends this one
                failure = error
            other.send((failure, losses.kinds))
