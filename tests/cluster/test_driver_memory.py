"""What a driver holds while entities grow: with routed rows nothing that grows with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import resource, tempfile, threading
from pyspark.sql import functions as F
from recsys_spark import BlockALS

exchange, users, rank = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
spark.sparkContext.setCheckpointDir(tempfile.mkdtemp())
drawn = [F.pmod(F.xxhash64("id", F.lit(salt)), F.lit(kinds)) for salt, kinds in ((1, users // 10), (2, 5))]
user = (F.col("id") % users).alias("user")
ratings = spark.range(3 * users).select(user, drawn[0].alias("item"), drawn[1].alias("rating"))
java, live, done = spark._jvm.java.lang, [], threading.Event()

def watch():
    heap = java.Runtime.getRuntime()
    while not done.wait(0.25):
        java.System.gc()
        live.append(heap.totalMemory() - heap.freeMemory())

watching = threading.Thread(target=watch)
watching.start()
try:
    model = BlockALS(rank=rank, maxIter=2, exchange=exchange).fit(ratings)
    rows = model.userFactors.count() + model.itemFactors.count()
finally:
    done.set()
    watching.join()
python = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"python": python, "jvm": max(live), "rows": rows}))
"""
FEW, MANY, RANK = 50_000, 800_000, 32


def test_routed_rows_leave_the_driver_as_small_as_it_was(run_cluster_script: Callable[..., Any]) -> None:
    """Sixteen times as many rows; the driver's Python, and what its JVM cannot collect, stay as they are."""

    def peaks(exchange: str) -> list[dict[str, int]]:
        return [run_cluster_script(SCRIPT, args=(exchange, str(users), str(RANK))) for users in (FEW, MANY)]

    (few, many), (few_here, many_here) = peaks("shuffle"), peaks("broadcast")
    assert many["rows"] == many_here["rows"] > 15 * few["rows"]
    grown = (many["rows"] - few["rows"]) * 4 * (RANK + 1)
    print({"rows": grown, "shuffle": (few, many), "broadcast": (few_here, many_here)})
    assert many["python"] - few["python"] < grown / 10
    assert many["jvm"] - few["jvm"] < grown / 10
    assert many_here["python"] - few_here["python"] > grown  # the measure sees rows where there are any
