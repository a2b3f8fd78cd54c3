"""The mathematics: plain functions over arrays (NumPy and Numba), with no Spark and no knowledge of blocks."""

import importlib

from recsys_spark.kernels.cache import kernels_cache

# Numba settles where a function is cached when it is decorated: all of them are, here, whichever is imported first.
with kernels_cache():
    for _name in (
        "machine", "exact", "rows", "tile", "lanes", "gram", "dense", "solve", "nnls", "nonnegative", "profile",
        "systems", "unseen", "graph", "prior", "outer", "passes", "projection", "held", "conjugate", "sweep", "start",
        "predict", "catalogue", "topk", "bucket",
    ):  # fmt: skip
        importlib.import_module(f"recsys_spark.kernels.{_name}")
