"""What a measured process is asked to do, and what it answers; both travel as JSON. No Spark here."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

from recsys_spark.als.settings import AlsSettings, Exchange
from recsys_spark.config import GraphSpec

Kind = Literal["blockals", "pyspark", "cmfrec", "implicit"]
Source = Literal["parquet", "derived"]

KNOWN, TEST = "known", "test"
"""Tables of the benchmark's data: (user, item, rating, held_out) of training and validation; (user, item, rating)."""
HELD_OUT = "held_out"
TOP_N = 10
EXCHANGES: tuple[Exchange, ...] = get_args(Exchange)
PHASES = ("compute", "exchange", "driver", "spark")
"""Of an iteration's seconds, as a fit's history has them."""


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


class Plan(_Message):
    """The model that a contender fits.

    Attributes
    ----------
    train : settings of BlockALS; its rank and seed are everybody's
    groups : feature groups that it gets; None: all there are
    graph : edges between items, made of their features before the clock starts; None: none
    offset : what pyspark.ml.ALS's ratings are taken less
    reg : λ·n of both sides (regParam); None: as `train` says
    spark : of pyspark.ml.ALS alone
    exchange : how BlockALS's rows reach blocks
    """

    kind: Kind
    train: AlsSettings
    groups: tuple[str, ...] | None = ()
    graph: GraphSpec | None = None
    offset: Literal["none", "mean", "biases"] = "none"
    reg: float | None = None
    spark: SparkChoice = SparkChoice(blocks=10, cache=False)
    exchange: Literal["auto", Exchange] = "auto"


class FitOrder(_Message):
    """One timed fit: all of `max_iter` iterations, of the ratings as Parquet has them or `derived`.

    Attributes
    ----------
    reg : another λ than the plan's
    judged : its RMSE is asked for
    served : and what it takes to use the model
    """

    max_iter: int
    source: Source = "parquet"
    reg: float | None = None
    judged: bool = False
    served: bool = False


class Spec(_Message):
    """What one process measures, from the start of its session to its end; the key that its outcome is kept under.

    Attributes
    ----------
    name : of the contender
    data, features : paths of the published versions
    fits : timed one after the other in the one session
    cores, driver_memory : of its session, which is local; the heap is the JVM's, where there is one
    executors : processes of their own, each of so many cores and as much memory; 0: the driver's does the work
    conf : further properties of its session
    share : of the users that are fitted to
    turn : tells measurements of the same thing apart
    """

    name: str
    plan: Plan
    data: str
    features: str
    fits: tuple[FitOrder, ...]
    cores: int
    driver_memory: str
    executors: int = 0
    conf: dict[str, str] = {}
    share: float = 1.0
    turn: str = "1"


class Judged(_Message):
    """RMSE and MAE in rating units, clipped to the training ratings' range.

    Attributes
    ----------
    rows, unknown : test rows, and those of them without a prediction (the training mean stands in)
    validation_rmse : None where nothing is held out
    """

    validation_rmse: float | None
    test_rmse: float
    test_mae: float
    rows: int
    unknown: int


class Served(_Message):
    """Seconds that it takes to use a model; None: it has no such thing.

    Attributes
    ----------
    transform : to predict all test rows, written nowhere
    top_n : to write the `TOP_N` best items of every user as Parquet; what a user has seen is not left out, as
        pyspark.ml.ALS cannot
    save, load : to a local directory and back, factors counted
    """

    transform: float | None = None
    top_n: float | None = None
    save: float | None = None
    load: float | None = None


class Course(_Message):
    """What a fit tells of itself, a number an iteration; empty where it keeps no history.

    Attributes
    ----------
    seconds, validation, objective : of each iteration, RMSE and J after it
    phases : of its seconds those of compute, exchange, driver and spark
    moved : bytes of rows that were exchanged
    """

    seconds: tuple[float, ...] = ()
    validation: tuple[float | None, ...] = ()
    objective: tuple[float, ...] = ()
    phases: dict[str, tuple[float, ...]] = {}
    moved: float = 0.0


class Phase(_Message):
    """A fit as it was timed.

    Attributes
    ----------
    start, end : seconds on the system's monotonic clock
    left : seconds to count the factors afterwards: near 0 where the fit was not lazy; not part of the fit's time
    shuffled : bytes that Spark wrote to shuffles meanwhile; None: no Spark
    """

    order: FitOrder
    start: float
    end: float
    left: float = 0.0
    shuffled: int | None = None
    course: Course = Course()
    judged: Judged | None = None
    served: Served | None = None

    @property
    def seconds(self) -> float:
        """Wall time, reading included."""
        return self.end - self.start

    @property
    def apart(self) -> float:
        """Seconds that are of no iteration: reading and building, and what follows the last one."""
        return self.seconds - sum(self.course.seconds)


class Size(_Message):
    """Ratings of training and validation, and of how many users and items they are."""

    ratings: int = 0
    users: int = 0
    items: int = 0


class Outcome(_Message):
    """What a process found.

    Attributes
    ----------
    session : seconds to open it
    blas : class of the BLAS that pyspark.ml.ALS found
    """

    session: float
    phases: tuple[Phase, ...]
    size: Size = Size()
    blas: str | None = None
    versions: dict[str, str] = {}
