"""Rows routed between blocks: the bits of one process, and no matrix on the driver."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pyspark import SparkFiles
from pyspark.sql import SparkSession

from fit_bits import bits
from problems import Problem, problem
from recsys_spark.als import adding
from recsys_spark.als.checkpoint import LakeCheckpoints
from recsys_spark.als.messages import Kind, Message
from recsys_spark.als.model import FittedModel
from recsys_spark.als.routed import RoutedStages
from recsys_spark.als.settings import AlsSettings, SideSettings, UnobservedSettings
from recsys_spark.als.spread import SpreadModel, load_spread_uri, save_spread_uri
from recsys_spark.als.train import HalfStep, train
from recsys_spark.blocks.build import block_records, plan_blocks
from recsys_spark.blocks.encoded import EncodedRatings
from recsys_spark.blocks.layout import ITEMS, USERS
from recsys_spark.blocks.ranged import ranged_blocks
from recsys_spark.errors import FitError
from terms_case import TermsCase

SIDE = SideSettings(reg=2.0, reg_bias=1.0, reg_features=1.5, reg_feature_bias=1.5)
SLOW = pytest.mark.slow
SETTINGS = AlsSettings(rank=3, max_iter=3, seed=1, user=SIDE, item=SIDE)


@pytest.fixture
def routed(spark: SparkSession, tmp_path: Path) -> Iterator[Callable[..., RoutedStages]]:
    """Makes executors that route rows; closes them."""
    numbers = itertools.count()

    def make(p: Problem, grid: tuple[int, int] = (2, 3), rank: int = 3, shared: int | None = None) -> RoutedStages:
        ratings = EncodedRatings(spark.createDataFrame(p.ratings).repartition(3), limit=0)
        tables = {s: spark.createDataFrame(t) for s, t in ((USERS, p.user_features), (ITEMS, p.item_features))}
        graphs = {side: spark.createDataFrame(table) for side, table in p.graphs.items()}
        widths = (len(p.columns[0]), len(p.columns[1]))
        opened.enter_context(ratings)
        layout, records, _ = opened.enter_context(ranged_blocks(ratings, tables, widths, grid, graphs))
        name = f"routed-{next(numbers)}"
        executor = RoutedStages(spark, layout, records, name, f"{tmp_path}/model-{name}", rank, shared)
        opened.callback(executor.close)
        return executor

    with ExitStack() as opened:
        yield make


@pytest.fixture
def gathered(spark: SparkSession) -> Callable[[SpreadModel], FittedModel]:
    return lambda model: model.gathered(spark)


@pytest.mark.parametrize("grid", [pytest.param((1, 1), marks=SLOW), (2, 3), pytest.param((8, 8), marks=SLOW)])
def test_routed_rows_give_the_bits_of_one_process(routed: Any, gathered: Any, grid: tuple[int, int]) -> None:
    p = problem()
    model = gathered(train(routed(p, grid), SETTINGS, p.columns))
    alone = train(p.executor(), SETTINGS, p.columns)
    assert bits(model) == bits(alone)
    assert model.user.counts.tobytes() == alone.user.counts.tobytes()


def test_sums_are_added_on_executors(routed: Any, gathered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "LIMIT", 0)
    p = problem()
    settings = SETTINGS.model_copy(update={"max_iter": 2})
    assert bits(gathered(train(routed(p, (3, 2)), settings, p.columns))) == bits(
        train(p.executor(), settings, p.columns)
    )


@pytest.mark.parametrize(
    ("nonnegative", "shared"),
    [pytest.param(False, None, marks=SLOW), (True, None), (True, ITEMS), pytest.param(False, USERS, marks=SLOW)],
)
def test_graphs_unobserved_cells_and_static_biases_through_routes(
    routed: Any, gathered: Any, nonnegative: bool, shared: int | None
) -> None:
    side = SIDE.model_copy(update={"graph": 0.7, "bias": "static" if nonnegative else "learned"})
    unobserved = UnobservedSettings(weight=0.2, target=2.0)
    settings = SETTINGS.model_copy(
        update={"user": side, "item": side, "unobserved": unobserved, "nonnegative": nonnegative, "max_iter": 2}
    )
    c = TermsCase(settings, weighted=False)
    alone = c.run()
    assert bits(gathered(train(routed(c.problem, (3, 2), shared=shared), settings, c.problem.columns))) == bits(alone)


def test_a_side_that_is_shared_is_not_routed(routed: Any, gathered: Any, spark: SparkSession, tmp_path: Path) -> None:
    p = problem()
    executor = routed(p, shared=ITEMS)
    kinds: set[tuple[int, Kind]] = set()
    held: list[int] = []

    def look(event: object) -> None:
        if isinstance(event, HalfStep):
            rows = executor._links[executor._latest[event.side]].rows
            found = rows.map(lambda e: e[1][1]).filter(lambda m: isinstance(m, Message)).collect()
            kinds.update((event.side, m.kind) for m in found)
            held.append(len(executor._shared._held))

    kept = LakeCheckpoints(spark, f"{tmp_path}/kept", 1, save_spread_uri, load_spread_uri)
    settings = SETTINGS.model_copy(update={"max_iter": 4})
    model = train(executor, settings, p.columns, watch=look, checkpoints=kept)
    assert kinds == {(USERS, Kind.MINE), (USERS, Kind.ACROSS), (ITEMS, Kind.MINE)}
    assert max(held) <= 3  # those that led to a checkpoint go with it
    assert bits(gathered(model)) == bits(train(p.executor(), settings, p.columns))
    last = [executor._shared.of(number) for number in executor._shared._held]
    assert last
    executor.close()
    assert not any(broadcast._jbroadcast.isValid() for broadcast in last)


def test_shared_rows_that_got_lost_on_their_way_to_the_driver_are_made_again(routed: Any, gathered: Any) -> None:
    p = problem()
    executor = routed(p, shared=ITEMS)
    send, times = executor._send, []

    def lose_once(work: Any, *args: Any) -> Any:
        link, found = send(work, *args)
        if work.side == ITEMS and work.needs:
            times.append(1)
            if len(times) == 2:
                kept = link.rows.filter(lambda e: getattr(e[1][1], "kind", None) != Kind.MINE)
                return link._replace(rows=kept), found
        return link, found

    executor._send = lose_once
    model = train(executor, SETTINGS, p.columns)
    assert len(times) > SETTINGS.max_iter
    assert bits(gathered(model)) == bits(train(p.executor(), SETTINGS, p.columns))


@SLOW
def test_lost_and_altered_block_files_are_rebuilt(routed: Any, gathered: Any) -> None:
    p = problem()
    root = Path(SparkFiles.getRootDirectory()) / "recsys-spark-blocks"
    damaged: list[Path] = []

    def damage(event: object) -> None:
        if isinstance(event, HalfStep) and event.side == ITEMS:
            files = sorted(root.rglob("*.blk"))
            for file in files[:-1]:
                file.unlink()
            files[-1].write_bytes(b"short")
            damaged.extend(files)

    model = train(routed(p), SETTINGS, p.columns, watch=damage)
    assert damaged
    assert bits(gathered(model)) == bits(train(p.executor(), SETTINGS, p.columns))


@pytest.mark.parametrize("mendable", [True, pytest.param(False, marks=SLOW)])
def test_rows_that_got_lost_are_sent_again_or_the_fit_says_what_to_do(
    routed: Any, gathered: Any, mendable: bool
) -> None:
    """As after an executor was lost, and what it had sent computed anew where a block's file is not."""
    p = problem()
    executor = routed(p)

    def thinned(link: Any) -> Any:
        """The link without what it sent to the other side."""
        return link._replace(rows=link.rows.filter(lambda e: getattr(e[1][1], "kind", None) != Kind.ACROSS))

    def lose(event: object) -> None:
        if isinstance(event, HalfStep) and (event.iteration, event.side) == (1, ITEMS):
            number, send = executor._latest[ITEMS], executor._send
            executor._links[number] = thinned(executor._links[number])
            if not mendable:

                def send_less(*args: Any) -> Any:
                    link, found = send(*args)
                    return thinned(link), found

                executor._send = send_less

    if mendable:
        model = train(executor, SETTINGS, p.columns, watch=lose)
        assert bits(gathered(model)) == bits(train(p.executor(), SETTINGS, p.columns))
    else:
        with pytest.raises(FitError, match="executors are lost faster .* goes on from its last checkpoint"):
            train(executor, SETTINGS, p.columns, watch=lose)


def test_blocks_that_were_not_made_to_be_routed_are_refused(spark: SparkSession, routed: Any, tmp_path: Path) -> None:
    p = problem()
    ratings = EncodedRatings(spark.createDataFrame(p.ratings))
    plan = spark.sparkContext.broadcast(plan_blocks(ratings, {}, (0, 0), (2, 3)))
    records = block_records(ratings, {}, plan)
    with (
        ranged_blocks(ratings, {}, (0, 0), (2, 3)) as (layout, *_),
        pytest.raises(Exception, match=r"block \d is not localised: it refers to whole sides"),
    ):
        RoutedStages(spark, layout, records, "unpaired", f"{tmp_path}/model", 3)
    ratings.close()


@SLOW
def test_a_fit_goes_on_from_a_checkpoint_of_either_exchange(
    spark: SparkSession, routed: Any, gathered: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = problem()
    settings = SETTINGS.model_copy(update={"max_iter": 4})
    undisturbed = bits(train(p.executor(), settings, p.columns))
    spread_kept = LakeCheckpoints(spark, f"{tmp_path}/kept", 1, save_spread_uri, load_spread_uri)
    kept = LakeCheckpoints(spark, f"{tmp_path}/kept", 1)
    for executor, store in ((routed(p), spread_kept), (p.executor(), kept), (routed(p, (3, 2)), spread_kept)):
        with monkeypatch.context() as patch:
            if executor.forgets:  # dies with every checkpoint that it reads back
                patch.setattr(executor, "adopt", lambda model: (_ for _ in ()).throw(KeyboardInterrupt))
            else:
                patch.setattr(kept, "save", _dying(kept.save))
            with pytest.raises(KeyboardInterrupt):
                train(executor, settings, p.columns, checkpoints=store)
    model = train(routed(p), settings, p.columns, checkpoints=spread_kept)
    assert bits(gathered(model)) == undisturbed
    assert not list((tmp_path / "kept").iterdir())


def _dying(save: Callable[..., None]) -> Callable[..., None]:
    def save_and_die(*args: Any) -> None:
        save(*args)
        raise KeyboardInterrupt

    return save_and_die
