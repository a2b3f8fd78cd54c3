"""A measured process: fits as it is told, prints one JSON line.

    python -m recsys_spark.benchmark.contender --spec '{...}'

A session's master and memory come with the environment (`launch`), since a JVM's heap is settled when it starts.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from recsys_spark.benchmark.spec import Course, FitOrder, Judged, Outcome, Phase, Served, Size, Spec

_LOOK = 2.0  # seconds between two looks at whether the job is alive


class Runner(Protocol):
    """What a contender can do. Models are its own."""

    def fit(self, order: FitOrder) -> Any:
        """Fit all of the order's iterations to the known ratings, which are read here."""

    def prepare(self, order: FitOrder) -> None:
        """Whatever the order needs before the clock starts."""

    def force(self, model: Any) -> None:
        """Do whatever a lazy fit has left to do."""

    def course(self, model: Any) -> Course:
        """What the fit tells of itself."""

    def judge(self, model: Any) -> Judged | None:
        """Its errors; None: it does not predict ratings."""

    def serve(self, model: Any) -> Served:
        """Use it."""

    def shuffled(self) -> int | None:
        """Bytes written to shuffles so far."""

    def settle(self) -> None:
        """Leave nothing of a fit to the next one."""

    def size(self) -> Size:
        """Of what it is fitted to."""

    def blas(self) -> str | None:
        """The class of the JVM's BLAS that it uses, if any."""

    def versions(self) -> dict[str, str]:
        """Of what runs."""


def run(spec: Spec) -> Outcome:
    """Open the session, and time the fits one after the other."""
    began = time.perf_counter()
    with open_runner(spec) as runner:
        session = time.perf_counter() - began
        phases = tuple(timed(runner, order) for order in spec.fits)
        return Outcome(
            session=session, phases=phases, size=runner.size(), blas=runner.blas(), versions=runner.versions()
        )


@contextlib.contextmanager
def open_runner(spec: Spec) -> Iterator[Runner]:
    """The contender that the spec asks for, in a session of its own where it needs one."""
    if spec.plan.kind == "cmfrec":
        from recsys_spark.benchmark.runners.cmfrec_als import CmfrecAls

        yield CmfrecAls(spec)
    elif spec.plan.kind == "implicit":
        from recsys_spark.benchmark.runners.implicit_als import ImplicitAls

        yield ImplicitAls(spec)
    else:
        from recsys_spark.benchmark.runners.on_spark import open_session

        with open_session(spec) as spark:
            if spec.plan.kind == "pyspark":
                from recsys_spark.benchmark.runners.spark_als import SparkAls

                yield SparkAls(spark, spec)
            else:
                from recsys_spark.benchmark.runners.block_als import BlockAls

                yield BlockAls(spark, spec)


def timed(runner: Runner, order: FitOrder) -> Phase:
    """One fit, and what is asked about it afterwards."""
    runner.prepare(order)
    before = runner.shuffled()
    start = time.perf_counter()
    model = runner.fit(order)
    end = time.perf_counter()
    runner.force(model)
    left = time.perf_counter() - end
    after = runner.shuffled()
    judged = runner.judge(model) if order.judged else None
    served = runner.serve(model) if order.served else None
    course = runner.course(model)
    del model
    runner.settle()
    shuffled = None if before is None or after is None else after - before
    return Phase(
        order=order, start=start, end=end, left=left, shuffled=shuffled, course=course, judged=judged, served=served
    )


def seconds_of(action: Any) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def end_with(parent: int) -> None:
    """End this process group when the job that started it is gone: an orphan would disturb who is measured next."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK)
        os.killpg(0, signal.SIGTERM)

    threading.Thread(target=watch, name="the job is alive", daemon=True).start()


def pin(cores: int) -> None:
    """Use so many of the cores that this process may use: a JVM's own threads would take the others."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what ``--spec`` says; the outcome is the last line on stdout."""
    parser = argparse.ArgumentParser(prog="recsys_spark.benchmark.contender", description=__doc__)
    parser.add_argument("--spec", required=True, type=Spec.model_validate_json, metavar="JSON")
    parser.add_argument("--parent", type=int, help="process id of the job; with it, this process ends")
    args = parser.parse_args(argv)
    pin(args.spec.cores * max(args.spec.executors, 1))
    if args.parent is not None:
        end_with(args.parent)
    sys.stdout.write(run(args.spec).model_dump_json() + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
