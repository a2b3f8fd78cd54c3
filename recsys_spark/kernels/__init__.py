"""The mathematics: plain functions over arrays (NumPy and Numba), with no Spark and no knowledge of blocks."""
