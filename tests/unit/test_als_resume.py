"""Fits that go on from a checkpoint, and fits that begin from another model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fit_bits import Disk, bits
from problems import problem
from recsys_spark.als.history import Iteration
from recsys_spark.als.model_io import load_model, save_model
from recsys_spark.als.settings import AlsSettings, SideSettings, StopSettings
from recsys_spark.als.train import HalfStep, train
from recsys_spark.errors import ConfigError

SETTINGS = AlsSettings(
    rank=3,
    max_iter=8,
    user=SideSettings(reg=2.0, reg_bias=1.0),
    item=SideSettings(reg=1.0, reg_bias=1.0, reg_mode="inverse_sqrt"),
    stop=StopSettings(tol=0.05, patience=4),
)


@pytest.mark.parametrize("bias", ["learned", "static", "none"])
@pytest.mark.parametrize("grid", [(1, 1), (2, 3)])
def test_a_resumed_fit_has_the_bits_of_an_undisturbed_one(tmp_path: Path, bias: str, grid: tuple[int, int]) -> None:
    p = problem()
    side = SETTINGS.user.model_copy(update={"bias": bias})
    settings = SETTINGS.model_copy(update={"user": side, "item": side})
    undisturbed = train(p.executor(), settings, p.columns)
    disk = Disk(tmp_path, every=2, die_after=4)
    with pytest.raises(KeyboardInterrupt):
        train(p.executor(), settings, p.columns, checkpoints=disk)
    seen: list[int] = []
    resumed = train(
        p.executor(*grid),
        settings,
        p.columns,
        checkpoints=disk,
        watch=lambda e: seen.append(e.iteration) if isinstance(e, Iteration) else None,
    )
    assert seen[0] == 5
    assert bits(resumed) == bits(undisturbed)
    assert disk.cleared == list(disk.progress)


def test_early_stopping_goes_on_where_it_was(tmp_path: Path) -> None:
    p = problem(noise=1.5)
    settings = SETTINGS.model_copy(update={"stop": StopSettings(tol=0.2, patience=3, min_iter=1)})
    undisturbed = train(p.executor(), settings, p.columns)
    assert len(undisturbed.history) < settings.max_iter
    disk = Disk(tmp_path, every=1, die_after=2)
    with pytest.raises(KeyboardInterrupt):
        train(p.executor(), settings, p.columns, checkpoints=disk)
    assert bits(train(p.executor(), settings, p.columns, checkpoints=disk)) == bits(undisturbed)


def test_a_checkpoint_belongs_to_its_data_and_settings(tmp_path: Path) -> None:
    p, disk = problem(), Disk(tmp_path, every=2, die_after=4)
    with pytest.raises(KeyboardInterrupt):
        train(p.executor(), SETTINGS, p.columns, checkpoints=disk)
    first = list(disk.progress)
    disk.die_after = None

    changed = p.ratings.set_column(2, "rating", pa.array(np.r_[5.5, p.ratings["rating"].to_numpy()[1:]], pa.float32()))
    q = problem()
    q.ratings = changed
    for executor, settings in (
        (q.executor(), SETTINGS),
        (p.executor(), SETTINGS.model_copy(update={"seed": 1})),
    ):
        train(executor, settings, p.columns, checkpoints=disk)
        assert disk.cleared[-1] not in first
    longer = SETTINGS.model_copy(update={"max_iter": 9})
    train(p.executor(), longer, p.columns, checkpoints=disk)
    assert disk.cleared[-1] in first


def test_the_checkpoint_of_a_warm_start_is_known_again_by_ids_that_are_strings(tmp_path: Path) -> None:
    p, disk = problem(), Disk(tmp_path, every=2)
    names = pa.compute.binary_join_element_wise("user ", pa.compute.cast(p.ratings["user"], pa.string()), "")
    p.ratings = p.ratings.set_column(0, "user", names)
    p.user_features = p.user_features.slice(0, 0)
    p.user_features = p.user_features.set_column(0, "id", pa.chunked_array([[]], pa.string()))
    model = train(p.executor(), SETTINGS, p.columns)
    for _ in range(2):
        save_model(model, tmp_path / "initial")
        initial = load_model(tmp_path / "initial")  # its ids are new objects each time
        train(p.executor(), SETTINGS, p.columns, initial=initial, checkpoints=disk)
        (tmp_path / "initial").rename(tmp_path / f"used-{len(disk.cleared)}")
    assert disk.cleared[0] == disk.cleared[1]


def test_a_warm_start_goes_on_below_where_the_model_was() -> None:
    p = problem(held_out=0.0)
    short = SETTINGS.model_copy(update={"max_iter": 3, "relaxation": 1.0})  # it would begin at 1 again
    model = train(p.executor(), short, p.columns)
    seen: list[HalfStep] = []
    train(
        p.executor(2, 3), short, p.columns, initial=model,
        watch=lambda e: seen.append(e) if isinstance(e, HalfStep) else None,
    )  # fmt: skip
    last = model.history.to_pylist()[-1]
    assert seen[0].terms.objective <= last["objective"] * (1 + 1e-6)
    assert seen[0].terms.reg_user == pytest.approx(last["reg_user"], rel=1e-5)
    assert seen[0].terms.reg_user_bias == pytest.approx(last["reg_user_bias"], rel=1e-5)
    undisturbed = train(p.executor(), short.model_copy(update={"max_iter": 6}), p.columns)
    assert seen[-1].terms.objective == pytest.approx(undisturbed.history["objective"].to_pylist()[-1], rel=1e-4)


def test_in_a_warm_start_new_ids_join_and_gone_ones_leave() -> None:
    p = problem(held_out=0.0)
    users = np.unique(p.ratings["user"].to_numpy())
    gone, new = users[:5], users[-5:]
    before, after = problem(held_out=0.0), problem(held_out=0.0)
    before.ratings = p.ratings.filter(pa.compute.invert(pa.compute.is_in(p.ratings["user"], pa.array(new))))
    after.ratings = p.ratings.filter(pa.compute.invert(pa.compute.is_in(p.ratings["user"], pa.array(gone))))
    no_features = p.user_features.slice(0, 0)
    before.user_features = after.user_features = no_features
    columns = ([], p.columns[1])
    before.columns = after.columns = columns
    model = train(before.executor(), SETTINGS, columns)
    warm = train(after.executor(), SETTINGS.model_copy(update={"max_iter": 20}), columns, initial=model)
    cold = train(after.executor(), SETTINGS.model_copy(update={"max_iter": 60}), columns)
    assert set(new) <= set(warm.user.ids.to_pylist())
    assert not set(gone) & set(warm.user.ids.to_pylist())
    assert warm.history["objective"].to_pylist()[-1] == pytest.approx(
        cold.history["objective"].to_pylist()[-1], rel=2e-2
    )


def test_a_warm_start_of_another_rank_is_refused() -> None:
    p = problem()
    model = train(p.executor(), SETTINGS.model_copy(update={"max_iter": 1}), p.columns)
    with pytest.raises(ConfigError, match="has rank 3, the fit 4: set rank to 3"):
        train(p.executor(), SETTINGS.model_copy(update={"rank": 4}), p.columns, initial=model)
