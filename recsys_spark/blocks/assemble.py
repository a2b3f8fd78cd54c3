"""From loose entries to a block: sorted, checked, the same arrays whatever order and pieces the entries came in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys_spark.blocks.grouped import Grouped, to_csr
from recsys_spark.blocks.layout import Block


def assemble(
    side: int,
    start: int,
    stop: int,
    ratings: Sequence[Grouped],
    features: Sequence[Grouped] = (),
    held_out: Sequence[Grouped] = (),
    keys: np.ndarray | None = None,
    graph: Sequence[Grouped] = (),
) -> Block:
    """The block of rows start:stop of ``side`` from pieces in any order. Executor or in-process.

    Parameters
    ----------
    ratings, features, held_out : sequences of Grouped
        Training ratings, feature values (cols are feature columns), validation ratings; all within start:stop.
    keys : uint64 ndarray of shape (stop - start,), optional
        Keys of the rows' ids; zeros where not given.
    graph : sequence of Grouped
        Similarities S_ij; cols are row numbers of the same side.
    """
    return Block(
        side,
        start,
        ratings=to_csr(ratings, start, stop),
        features=to_csr(features, start, stop),
        held_out=to_csr(held_out, start, stop),
        graph=to_csr(graph, start, stop),
        keys=np.zeros(stop - start, np.uint64) if keys is None else keys,
    )
