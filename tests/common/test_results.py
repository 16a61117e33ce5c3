"""What results and reports say of numbers."""

from __future__ import annotations

import pytest

from colab_magics.core.common.results import seconds_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.004, "0.00 s"),
        (0.99, "0.99 s"),
        (59.9, "59.9 s"),
        (59.96, "1 min 0 s"),
        (119.7, "2 min 0 s"),
        (3599.6, "1 h 0 min"),
        (9000, "2 h 30 min"),
    ],
)
def test_a_duration_is_never_sixty_of_something(seconds: float, text: str) -> None:
    """Rounded up, it is one of the next unit."""
    assert seconds_text(seconds) == text
