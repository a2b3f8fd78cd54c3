"""Block-ALS with biases, side features and cold start on Apache Spark, and the pipeline around it.

``BlockALS`` and ``BlockALSModel`` are loaded on first use, so that importing a part that needs no Spark
(``recsys_spark.kernels``, ``recsys_spark.als.model``) never loads pyspark.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recsys_spark.worker import in_worker, quicken

if TYPE_CHECKING:
    from recsys_spark.ml.estimator import BlockALS
    from recsys_spark.ml.model import BlockALSModel

__version__ = "0.1.0"
__all__ = ["BlockALS", "BlockALSModel", "__version__"]

_LAZY = {"BlockALS": "recsys_spark.ml.estimator", "BlockALSModel": "recsys_spark.ml.model"}


def __getattr__(name: str) -> Any:
    """Import the estimator or its model when first asked for (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


if in_worker():
    quicken()
