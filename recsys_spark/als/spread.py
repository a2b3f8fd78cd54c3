"""A fitted model whose rows no process holds: each side's rows are a DataFrame, all else is as in `als.model`. Driver.

Saved, it is what `als.model_io` describes, with a directory of Parquet files where a side's rows are; either can be
loaded as the other.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_spark import lake
from recsys_spark.als.model import FitFacts, FittedModel, SideFacts
from recsys_spark.als.model_io import HISTORY, MODEL_JSON, SIDES, read_rest, rows_file, write_rest
from recsys_spark.als.model_uri import load_model_uri, named

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True, eq=False)
class SpreadSide(SideFacts):
    """One side (users or items) of a fitted model."""

    rows: DataFrame  # id, factors array<float>, bias float, count double: each id once, in no order
    size: int
    rank: int
    ids: str  # int64 or string

    def __len__(self) -> int:
        return self.size


@dataclass(frozen=True, eq=False)
class SpreadModel(FitFacts):
    """Everything a fit leaves behind. ``uri``: where it is saved, None while it is not."""

    user: SpreadSide
    item: SpreadSide
    uri: str | None = None

    @property
    def rank(self) -> int:
        """Width k of both sides' factors."""
        return self.user.rank

    def fingerprint(self) -> bytes:
        """A hash of rows and projections. One job for each side."""
        digest = hashlib.blake2b(digest_size=16)
        for side in (self.user, self.item):
            digest.update(side.projection.tobytes() + side.projection_bias.tobytes())
            found = side.rows.selectExpr("sum(cast(xxhash64(id, factors, bias) as decimal(38, 0))) as hash").first()
            digest.update(str(found and found["hash"]).encode())
        return digest.digest()

    def gathered(self, spark: SparkSession) -> FittedModel:
        """The same model as plain arrays, on the driver. ValueError where it is not saved."""
        if self.uri is None:
            raise ValueError("the model is not saved: only a saved one can be loaded")
        return load_model_uri(spark, self.uri)


def spread(
    rows: Sequence[DataFrame],
    sizes: Sequence[tuple[int, str]],
    sides: Sequence[SideFacts],
    facts: FitFacts,
    rank: int,
    uri: str | None = None,
) -> SpreadModel:
    """A model of (users, items): rows, how many there are and their ids' type, columns and projections."""
    user, item = (
        SpreadSide(rows=frame, size=size, rank=rank, ids=ids, **vars(side))
        for frame, (size, ids), side in zip(rows, sizes, sides, strict=True)
    )
    return SpreadModel(user=user, item=item, **vars(facts), uri=uri)


def save_spread_uri(spark: SparkSession, model: SpreadModel, uri: str) -> None:
    """Write a model to a path or URI that holds nothing yet; executors write the rows."""
    sizes = []
    for name, side in zip(SIDES, (model.user, model.item), strict=True):
        side.rows.write.option("parquet.page.write-checksum.enabled", "true").parquet(f"{uri}/{rows_file(name)}")
        sizes.append((side.size, side.ids))
    with tempfile.TemporaryDirectory(prefix="recsys_spark-model-") as scratch:
        write_rest(model, sizes, Path(scratch))
        for file in _small_files():
            lake.copy_from_local(spark, Path(scratch) / file, f"{uri}/{file}")


def load_spread_uri(spark: SparkSession, uri: str) -> SpreadModel:
    """Load what `save_spread_uri` wrote, rows lazily. DataError as `model_io.load_model`."""
    with tempfile.TemporaryDirectory(prefix="recsys_spark-model-") as scratch:
        local = Path(scratch) / "model"
        for file in _small_files():
            if lake.exists(spark, f"{uri}/{file}"):
                lake.copy_to_local(spark, f"{uri}/{file}", local / file)
        with named(uri, local):
            rest = read_rest(local)
    rows = [spark.read.parquet(f"{uri}/{rows_file(name)}") for name in SIDES]
    sizes: list[tuple[int, Any]] = [(int(facts["rows"]), facts["ids"]) for facts in rest.rows]
    return spread(rows, sizes, rest.sides, rest.facts, rest.rank, uri)


def is_spread(spark: SparkSession, uri: str) -> bool:
    """Whether the model saved at a path or URI has its rows in many files."""
    return lake.exists(spark, f"{uri}/{rows_file(SIDES[0])}/_SUCCESS")


def _small_files() -> list[str]:
    """Files beside the rows; the last one vouches for the others."""
    return [*(f"{name}Projection.parquet" for name in SIDES), HISTORY, MODEL_JSON]
