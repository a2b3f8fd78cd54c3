"""Publishing, killed at every file operation: readers see whole versions, and the next run mends the rest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recsys_spark import lake
from recsys_spark.errors import NotPublishedError
from recsys_spark.lake import fs
from recsys_spark.lake.manifest import POINTER


def publish(spark, root, seed):
    def write(draft):  # no table: an operation on files is what dies here
        draft.write_text("part-0", "whole")

    return lake.publish(spark, root, step="ratings", settings={"seed": seed}, inputs={}, write=write, keep=0)


class Killed(BaseException):
    """Stands for anything that ends the process."""


def dies_at(step: int, patch: pytest.MonkeyPatch) -> list[int]:
    """From the given file operation on nothing is done any more, as in a process that is gone; counts operations."""
    done = [0]

    def or_die(operation):
        def call(*args, **kwargs):
            if done[0] == step:
                raise Killed
            done[0] += 1
            return operation(*args, **kwargs)

        return call

    for place, names_ in ((fs, ("write_text", "commit_dir", "delete")), (Path, ("rename", "replace"))):
        for name in names_:
            patch.setattr(place, name, or_die(getattr(place, name)))
    return done


@pytest.mark.parametrize("earlier", [False, True])
def test_killed_at_any_file_operation_readers_see_whole_versions_and_the_next_run_mends_it(spark, tmp_path, earlier):
    root = f"{tmp_path}/step/ratings"
    before = publish(spark, root, seed=0).path if earlier else None
    visible, step, finished = [], 0, False
    while not finished:
        seed = step + 1  # another version each time
        with pytest.MonkeyPatch.context() as patch:
            done = dies_at(step, patch)
            try:
                publish(spark, root, seed=seed)
                finished = True
            except Killed:
                assert done[0] == step
        try:
            seen = lake.current(spark, root)
            assert lake.read_text(spark, seen.table("part-0")) == "whole"
            visible.append(seen.manifest.settings == {"seed": seed})
            assert visible[-1] or seen.path == before
        except NotPublishedError:
            assert not earlier
            visible.append(False)
        before = publish(spark, root, seed=seed).path
        assert lake.current(spark, root).path == before
        if not earlier:
            lake.delete(spark, root)
        step += 1
    assert visible == sorted(visible), "once it is visible it stays"
    assert visible[0] is False
    assert sum(visible) > 1, "killed in the act of tidying up"
    for left in (Path(root), Path(root).parent):
        for entry in left.glob("._*"):
            os.utime(entry, (1_000_000_000, 1_000_000_000))
    last = publish(spark, root, seed=99)
    assert set(os.listdir(root)) == {POINTER, last.manifest.version}
    assert os.listdir(f"{tmp_path}/step") == ["ratings"]


def test_the_first_version_and_its_pointer_come_in_one_rename(spark, tmp_path, monkeypatch):
    root, renamed, commit = f"{tmp_path}/step", [], fs.commit_dir

    def watched(session, source, target, last):
        assert not lake.exists(session, root)
        done = commit(session, source, target, last)
        renamed.append(target)
        assert lake.current(session, root).manifest.settings == {"seed": 1}
        return done

    monkeypatch.setattr(fs, "commit_dir", watched)
    publish(spark, root, seed=1)
    assert renamed == [root]
