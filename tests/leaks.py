"""What a session still holds: asked before and after something that is to leave nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def persisted(spark: SparkSession) -> set[int]:
    """Numbers of the RDDs that Spark keeps.

    Compare with <=, never ==: what other tests left without a reference goes whenever the JVM collects its garbage.
    """
    return set(spark.sparkContext._jsc.getPersistentRDDs())  # type: ignore[attr-defined]
