"""What a measured process is asked to do, and what it answers; both travel as JSON. No Spark here."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from recsys_spark.als.settings import AlsSettings

Contender = Literal["BlockALS", "pyspark.ml.ALS"]
OURS: Contender = "BlockALS"
SPARK: Contender = "pyspark.ml.ALS"
Source = Literal["parquet", "derived"]

KNOWN, TEST = "known", "test"
"""Tables of the benchmark's data: (user, item, rating, held_out) of training and validation; (user, item, rating)."""
HELD_OUT = "held_out"
TOP_N = 10


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SparkChoice(_Message):
    """How pyspark.ml.ALS is run.

    Attributes
    ----------
    blocks : blocks a side
    cache : whether the ratings are persisted before the fit reads them
    """

    blocks: int
    cache: bool


class FitOrder(_Message):
    """One timed fit: `max_iter` iterations, none of them left out, of the ratings as Parquet has them or `derived`."""

    max_iter: int
    source: Source = "parquet"


class Spec(_Message):
    """What one process measures, from the start of its session to its end.

    Attributes
    ----------
    data, features : paths of the published versions
    train : settings of BlockALS; its rank is that of both
    spark : of pyspark.ml.ALS alone
    reg : regParam of pyspark.ml.ALS
    fits : timed one after the other in the one session
    quality : iterations of pyspark.ml.ALS for a last fit that is scored on the test fold (BlockALS: as `train` says,
        with early stopping); None: no such fit
    cores, driver_memory : of its session, which is local
    conf : further properties of its session
    """

    contender: Contender
    data: str
    features: str
    train: AlsSettings
    spark: SparkChoice
    reg: float
    fits: tuple[FitOrder, ...]
    quality: int | None = None
    cores: int
    driver_memory: str
    conf: dict[str, str] = {}


class Phase(_Message):
    """A fit as it was timed.

    Attributes
    ----------
    start, end : seconds on the system's monotonic clock
    history : seconds of each iteration as the fit itself tells (BlockALS)
    left : seconds to count the factors afterwards: near 0 where the fit was not lazy; not part of the fit's time
    """

    max_iter: int
    source: Source
    start: float
    end: float
    history: tuple[float, ...] = ()
    left: float = 0.0

    @property
    def seconds(self) -> float:
        """Wall time."""
        return self.end - self.start


class Quality(_Message):
    """A whole fit and its RMSE on the test fold, in rating units, clipped to the training ratings' range.

    Attributes
    ----------
    rows, unknown : test rows, and those of them whose user or item it does not know (the training mean stands in)
    transform : seconds to predict all test rows once more, written nowhere
    top_n : seconds to write the `TOP_N` best items of every user as Parquet; what a user has seen is not left out, as
        pyspark.ml.ALS cannot
    """

    test_rmse: float
    rows: int
    unknown: int
    iterations: int
    seconds: float
    transform: float
    top_n: float


class Outcome(_Message):
    """What a process found."""

    session: float
    phases: tuple[Phase, ...]
    quality: Quality | None = None
    blas: str | None = None
    versions: dict[str, str] = {}
