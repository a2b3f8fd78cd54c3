"""A fit on executors of their own: the bits of one process, whatever is moved or killed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[1]

SCRIPT = """
sys.path.insert(0, sys.argv[1])
import contextlib, hashlib, signal, subprocess, tempfile
import numpy as np
from problems import problem
from recsys_spark.als.model import MEASURED
from recsys_spark.als.routed import RoutedStages
from recsys_spark.als.settings import AlsSettings, SideSettings
from recsys_spark.als.stages import Stages
from recsys_spark.als.train import HalfStep, train
from recsys_spark.blocks.build import block_records, plan_blocks
from recsys_spark.blocks import encoded
from recsys_spark.blocks.encoded import EncodedRatings
from recsys_spark.blocks.layout import ITEMS, USERS
from recsys_spark.blocks.ranged import ranged_blocks

side = SideSettings(reg=2.0, reg_bias=1.0, reg_features=1.5, reg_feature_bias=1.5)
settings = AlsSettings(rank=3, max_iter=4, seed=1, user=side, item=side)
p, sc = problem(), spark.sparkContext

def bits(model):
    arrays = [a for s in (model.user, model.item) for a in (s.factors, s.biases, s.projection)]
    arrays += [np.asarray(c) for c in model.history.drop_columns(list(MEASURED)).columns]
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()

def pids(*query):
    return [int(p) for p in subprocess.run(["pgrep", *query], capture_output=True, text=True).stdout.split()]

def executors():
    return pids("-f", f"CoarseGrainedExecutorBackend.*{sc.applicationId}")

killed = []

def kill(event):
    if isinstance(event, HalfStep) and event.iteration == 2 and event.side == ITEMS:
        daemons = [d for e in executors() for d in pids("-P", str(e))]
        for worker in [w for d in daemons for w in pids("-P", str(d))]:
            os.kill(worker, signal.SIGKILL)
            killed.append("worker")
    if isinstance(event, HalfStep) and event.iteration == 3 and event.side == ITEMS:
        os.kill(executors()[0], signal.SIGKILL)
        killed.append("executor")

# Chunks of files lie in files of the executor that read them.
encoded._MIN_TASK = encoded._MIN_FILES = 50
files = tempfile.mkdtemp() + "/ratings"
spark.createDataFrame(p.ratings).repartition(4).write.parquet(files)

def fit(watch, routed=False, given=None):
    ratings = EncodedRatings(given or spark.read.parquet(files))
    tables = {s: spark.createDataFrame(t) for s, t in ((USERS, p.user_features), (ITEMS, p.item_features))}
    widths = (len(p.columns[0]), len(p.columns[1]))
    with ratings, contextlib.ExitStack() as opened:
        if routed:
            layout, records, _ = opened.enter_context(ranged_blocks(ratings, tables, widths, (3, 3)))
            home, shared = tempfile.mkdtemp() + "/model", ITEMS if sys.argv[2] == "mixed" else None
            executor = RoutedStages(spark, layout, records, "routed", home, settings.rank, shared)
        else:
            plan = sc.broadcast(plan_blocks(ratings, tables, widths, (3, 3)))
            executor = Stages(sc, plan.value, block_records(ratings, tables, plan), "cluster")
        opened.callback(executor.close)
        model = train(executor, settings, p.columns, watch=watch)
        return bits(model.gathered(spark) if routed else model)

routed = sys.argv[2] != "broadcast"
found = {"one process": bits(train(p.executor(), settings, p.columns)), "killed": fit(kill, routed)}
if not routed:
    found["undisturbed"] = fit(None, given=spark.createDataFrame(p.ratings).repartition(4))
print(json.dumps({"bits": found, "killed": sorted(killed), "left": len(sc._jsc.getPersistentRDDs())}))
"""


@pytest.mark.parametrize(
    "exchange", ["broadcast", *(pytest.param(e, marks=pytest.mark.slow) for e in ("routed", "mixed"))]
)
def test_the_same_bits_when_tasks_move_and_workers_and_an_executor_die(
    run_cluster_script: Callable[..., Any], exchange: str
) -> None:
    # Without locality tasks run anywhere: most do not find their block's file and must say so.
    found = run_cluster_script(SCRIPT, conf={"spark.locality.wait": "0"}, args=(str(TESTS), exchange))
    assert set(found["killed"]) == {"executor", "worker"}
    assert len(set(found["bits"].values())) == 1, found["bits"]
    assert found["left"] == 0
