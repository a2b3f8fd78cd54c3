"""What a block's own task reads of the input where the driver is the only executor: nothing then needs a shuffle.

Every task finds the files of all others. The one that merges a block cuts what is its own out of each file of chunks,
and of each file of features, so that ratings pass through no JVM, and nothing is written between chunks and blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from recsys_spark.blocks.chunk_files import ChunkFile
from recsys_spark.blocks.chunks import Chunk
from recsys_spark.blocks.coded import chunks_in
from recsys_spark.blocks.pieces import Piece, chunk_pieces, feature_pieces
from recsys_spark.blocks.plan import Plan
from recsys_spark.blocks.scan import ScanTasks


class Near(NamedTuple):
    """All ratings, and those feature tables that tasks can read; by side."""

    chunks: Sequence[ChunkFile]
    features: dict[int, ScanTasks]

    def pieces(self, plan: Plan, slot: int) -> Iterator[Piece]:
        """All pieces of one block, one after the other. Executor.

        Raises DataError as `coded.chunks_in`, and as `pieces.chunk_pieces` and `pieces.feature_pieces`.
        """
        for file in self.chunks:
            for data in chunks_in(file):
                yield from chunk_pieces(Chunk.decode(data), plan, slot)
        side = plan.grid.side(slot)
        if side in self.features:
            yield from feature_pieces(self.features[side].batches(), plan, side, slot)
