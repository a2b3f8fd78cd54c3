"""What is unfair about each comparison, in favour of whom: printed wherever its figures are. No Spark here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EVERYBODY = (
    "Same Parquet, read by its recorded schema, split, rank, iterations and cores; every fit is of ratings without the "
    "validation part; nobody stops early. Predictions are clipped to the scale, and the mean stands in where there is "
    "none."
)
_KINDS = {
    "blockals": (
        "BlockALS scores the validation ratings in every iteration, within its time, and keeps its best iteration; "
        "the others keep their last. Its kernels were compiled beforehand: what that costs is told apart.",
        "λs of BlockALS with biases come from the settings and were not searched for here; pyspark.ml.ALS has the "
        "best of the regParams tried. A point of BlockALS's curve holds what the fit does after its last iteration.",
    ),
    "pyspark": (
        "pyspark.ml.ALS has the best of the numbers of blocks and of caching tried, and of λs; it keeps no history, so "
        "that every point of its curve is a fit of its own, timed in a warm session.",
        "Lists and saved models of centred ratings and residuals are those of the factors alone, without what was "
        "taken off: in their favour.",
    ),
    "cmfrec": (
        "cmfrec is one process in C with the ratings in memory: no cluster, no Spark session, and no JVM in its "
        "memory. It solves rows by three conjugate-gradient steps, its default. Its λ·n also weighs biases.",
        "It has no history (a point of its curve is a fit), lists for one user a call, and is saved as a pickle "
        "alone: the last two are not measured.",
    ),
    "implicit": (
        "implicit fits preferences (was it rated?), not ratings: its times alone can be compared. It solves rows by "
        "three conjugate-gradient steps in memory, one process, no JVM; an iteration includes Grams of all rows.",
    ),
}
_GRAPH = "The graph between items is made within every fit of blockals_graph, build included."


def notes(contenders: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Those that concern the contenders of a record."""
    kinds = [contender["kind"] for contender in contenders.values()]
    told = [note for kind, texts in _KINDS.items() if kind in kinds for note in texts]
    graph = [_GRAPH] if any(contender["plan"]["graph"] is not None for contender in contenders.values()) else []
    return [EVERYBODY, *told, *graph]
