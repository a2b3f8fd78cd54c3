"""The vectors of the processor that Numba compiles for, by which kernels choose their tiles.

The choice changes no bit: each sum is added up in the same order in whichever tile it stands, and a row's system is
solved alike in whichever company.
"""

from __future__ import annotations

from llvmlite import binding
from numba import config


def has(feature: str) -> bool:
    """Whether kernels may use it."""
    if config.CPU_FEATURES is not None:  # NUMBA_CPU_FEATURES: "+avx2,-avx512f"
        return f"+{feature}" in config.CPU_FEATURES.split(",")
    return bool(binding.get_host_cpu_features().get(feature))


# 32 registers of 16 floats; elsewhere 16 of 8 (AVX2) or 32 of 4 (NEON), which hold a quarter.
WIDE = has("avx512f")
LANES = 16 if WIDE else 8  # rows whose systems are solved at once, one in each lane of a vector
