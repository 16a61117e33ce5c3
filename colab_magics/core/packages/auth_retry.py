"""What an installer's failure means for the credentials retry."""

from __future__ import annotations

from colab_magics.core.common import process
from colab_magics.core.git import refs
from colab_magics.core.git.auth_retry import CredentialsRetry
from colab_magics.core.git.broker import Broker
from colab_magics.core.git.refs import TryAgainError
from colab_magics.core.git.specs import Spec
from colab_magics.core.packages import failures

__all__ = ["CredentialsRetry", "check"]


def check(done: process.Finished, label: str, spec: Spec | None, broker: Broker) -> None:
    """Raise what an installer's failure means; nothing when it is none.

    Raises
    ------
    TryAgainError, NeedsTokenError, RefusedTokenError
        When `CredentialsRetry.run` is to do it again, with what it finds.
    InstallError
        When that would not help.
    """
    if done.status == 0:
        return
    if broker.learn(done.output):
        raise TryAgainError
    if error := refs.explain(done.output, spec, broker):
        raise error
    raise failures.explain_failure(done.output, label)
