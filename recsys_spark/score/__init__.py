"""Recommendations: loading a saved model, top-N for many users in Spark, and the job that publishes whole days of it.

``read(path, run_date)`` and ``create_view(name, path)`` are how other programs get at what was published.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recsys_spark.score.days import create_view, read

__all__ = ["create_view", "read"]


def __getattr__(name: str) -> Any:
    """The two from ``days``, when asked for: ``score.finder`` stands before configuration and must not bring it in."""
    if name in __all__:
        from recsys_spark.score import days

        return getattr(days, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
