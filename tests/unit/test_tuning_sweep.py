"""What a sweep is asked for, the shares of training ratings, and its figure."""

from __future__ import annotations

import argparse

import pandas as pd
import pyarrow as pa
import pytest

from recsys_spark.blocks.layout import USERS, Block
from recsys_spark.config import Settings, load_settings
from recsys_spark.errors import ConfigError, DataError
from recsys_spark.tuning.figures import sweep
from recsys_spark.tuning.folds import Features, share_folds
from recsys_spark.tuning.sweep import with_arguments


def asked(parameter: str | None = None, values: str | None = None) -> argparse.Namespace:
    return argparse.Namespace(parameter=parameter, values=values)


def test_arguments_stand_for_settings():
    chosen = with_arguments(Settings(), asked("reg", "3, 0.5")).sweep
    assert chosen.chosen.keys == ("train.user.reg", "train.item.reg")
    assert chosen.chosen.values == (3, 0.5)
    assert with_arguments(Settings(), asked()).sweep == Settings().sweep
    mine = load_settings(
        [], ["sweep.parameters.beta={keys: [train.item.reg_bias], values: [1, 2]}", "sweep.parameter=beta"]
    )
    assert with_arguments(mine, asked(values="4, 5")).sweep.chosen.values == (4, 5)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (asked("rnak"), "parameter must be one of rank, reg, share, found 'rnak'"),
        (asked("rank", "5"), "at least 2 items"),
        (asked("rank", "4, 4"), r"values must differ, found \[4.0, 4.0\]"),
        (asked("rank", "0, 4"), r"logarithmic scale needs values above 0, found \[0.0, 4.0\]"),
        (asked("rank", "few, many"), "valid number"),
        (asked("share", "0.5, 1.5"), r"shares of the training ratings must lie in \(0, 1\], found \[0.5, 1.5\]"),
    ],
)
def test_arguments_that_make_no_sense(given, words):
    with pytest.raises(ConfigError, match=f"the sweep cannot be made: .*{words}"):
        with_arguments(Settings(), given)


def table(n: int) -> pa.Table:
    ids = list(range(n))
    return pa.table(
        {
            "user": pa.array([i % 7 for i in ids], pa.int64()),
            "item": pa.array(ids, pa.int64()),
            "rating": pa.array([3.0] * n, pa.float32()),
            "fold": pa.array([i % 2 for i in ids], pa.int32()),
            "inner": pa.array([i // 2 % 10 for i in ids], pa.int32()),
        }
    )


NONE = Features((pa.table({"id": pa.array([], pa.int64())}),) * 2, ((), ()))


def test_smaller_shares_lie_within_larger_ones_and_are_judged_alike():
    folds = share_folds(table(200), NONE, 2, 10, shares=(0.3, 0.6, 1.0))
    assert set(folds) == {f"outer-{o}{end}" for o in (0, 1) for end in ("", "/share-0.3", "/share-0.6")}
    sizes = [len(Block.from_buffer(folds[n].records[USERS]).ratings.values) for n in ("outer-0/share-0.3", "outer-0")]
    assert sizes == [30, 100]
    items = [set(folds[f"outer-0{end}"].plan.item.ids.to_pylist()) for end in ("/share-0.3", "/share-0.6", "")]
    assert items[0] < items[1] < items[2]
    assert folds["outer-0/share-0.3"].judged.equals(folds["outer-0"].judged)


def test_a_share_of_nothing_is_refused():
    with pytest.raises(DataError, match="outer-0/share-0.01 has 0 training and 10 judging ratings"):
        share_folds(table(20), NONE, 1, 10, shares=(0.01,))


def test_the_figure_marks_the_best_in_test():
    means = pd.DataFrame({"value": [1.0, 8.0, 64.0], "train_rmse": [0.9, 0.8, 0.6], "test_rmse": [0.95, 0.9, 0.92]})
    means["gap"] = means["test_rmse"] - means["train_rmse"]
    upper, lower = sweep(means, means, "rank", log=True).axes
    assert [line.get_xdata()[0] for line in upper.lines if line.get_linestyle() == "--"] == [8.0]
    assert upper.get_legend().get_texts()[-1].get_text() == "best in test: 8 (RMSE 0.9000)"
    assert lower.get_xscale() == "log"
    assert [label.get_text() for label in lower.get_xticklabels()] == ["1", "8", "64"]
