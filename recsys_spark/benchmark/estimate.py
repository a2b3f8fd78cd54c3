"""What a fit takes on a cluster that is not here: memory, bytes and seconds by formula, with constants measured here.

    python -m recsys_spark.benchmark.estimate RECORD --users 1e9 --items 1e7 --ratings 1e11 --executors 250 --cores 16

Records are of benchmarks with the sections compare and weak. docs/scale.md derives the formulas, which
are bounds: no block is assumed to refer to one row twice. No Spark here.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys_spark.als.adding import LIMIT as ADDED_LIMIT
from recsys_spark.als.project import MAX_UNKNOWNS
from recsys_spark.blocks.build import blocks_for, row_bytes
from recsys_spark.blocks.encoded import TALLY_LIMIT
from recsys_spark.blocks.layout import ITEMS, USERS, other, smaller_side
from recsys_spark.errors import ConfigError
from recsys_spark.kernels.conjugate import STEPS
from recsys_spark.ml.running import exchange_by_size
from recsys_spark.pages import markdown_table, put_between

_BLOCK_RATING = 8  # column and value, in a block file
_ID = 16  # bytes of an id and its count in a tally
_TWICE = 2  # what a task is given is there as it came, and in order
_GRADIENT_PASSES = 1 + STEPS  # of a projection that is not solved directly
MARK = "estimate"


@dataclass(frozen=True)
class Data:
    """What is fitted, and how."""

    users: float
    items: float
    ratings: float
    rank: int
    features: int = 50  # columns of the side that has most

    @property
    def row(self) -> int:
        """Bytes of a row: factors and bias, float32."""
        return row_bytes(self.rank)


@dataclass(frozen=True)
class Cluster:
    """Executors, each of so many cores; bytes a second that an executor sends."""

    executors: int
    cores: int
    network: float

    @property
    def tasks(self) -> int:
        """Tasks at a time."""
        return self.executors * self.cores


@dataclass(frozen=True)
class Constants:
    """Seconds of one core, measured at `rank`.

    Attributes
    ----------
    rating : of arithmetic, per rating of an iteration: both half-sweeps, projections, errors
    build : per rating, from Parquet to blocks by way of a shuffle
    ranged : likewise where rows are routed, and no process knows all ids
    routed : per byte of rows that blocks send one another: made, written, read, put in order
    piece : bytes shuffled per rating while blocks are built
    product : seconds of a multiplication and addition in the search for top-N lists
    """

    rank: int
    rating: float
    build: float
    ranged: float
    routed: float
    piece: float
    product: float

    def rating_at(self, rank: int) -> float:
        """`rating` at another rank, by its k (k + 1) multiplications; kernels of larger ranks waste fewer."""
        return self.rating * rank * (rank + 1) / (self.rank * (self.rank + 1))


@dataclass(frozen=True)
class Stage:
    """A step and what it takes at most: bytes of one task, bytes sent by all, seconds; which way it goes."""

    name: str
    way: str
    memory: float
    sent: float
    seconds: float


def routed_sides(data: Data) -> set[int]:
    """The sides whose rows go from block to block, and not by broadcast; spark.driver.maxResultSize is large enough."""
    rows = (data.users, data.items)
    exchange = exchange_by_size(rows, data.rank)
    if exchange == "mixed":
        return {other(smaller_side(rows))}
    return set() if exchange == "broadcast" else {USERS, ITEMS}


def blocks_of(data: Data, cluster: Cluster) -> tuple[int, int]:
    """User blocks and item blocks, as the engine has them."""
    routed, rows = routed_sides(data), (data.users, data.items)
    users, items = (
        blocks_for(data.ratings, cluster.tasks, rows[s], data.row if s in routed else 0) for s in (ITEMS, USERS)
    )
    return users, items


def routed_rows(rows: float, ratings: float, blocks: int) -> float:
    """Rows of one side that go to the blocks of the other: each once a block that refers to it, a rating at most."""
    return min(rows * blocks, ratings)


def stages(data: Data, cluster: Cluster, constants: Constants) -> list[Stage]:
    """The steps of a fit, in order."""
    user_blocks, item_blocks = blocks_of(data, cluster)
    half = data.ratings * constants.rating_at(data.rank) / 2
    line = cluster.executors * cluster.network
    block = data.ratings / min(user_blocks, item_blocks) * _BLOCK_RATING
    tallies = _ID * (data.users + data.items)
    routed = routed_sides(data)
    pieces = data.ratings * constants.piece
    out = [
        Stage(
            "blocks",
            "ids on the driver" if not routed and tallies <= TALLY_LIMIT else "ids on executors",
            _TWICE * block,
            pieces,
            max(data.ratings * (constants.ranged if routed else constants.build) / cluster.tasks, pieces / line),
        )
    ]
    halves = (
        ("items' half-sweep", USERS, data.users, item_blocks),
        ("users' half-sweep", ITEMS, data.items, user_blocks),
    )
    for name, given, rows, blocks in halves:
        if given not in routed:
            # Gathered by the driver, handed from executor to executor: the time of twice the rows on one line.
            sent = data.row * rows * (1 + cluster.executors)
            seconds = half / cluster.tasks + 2 * data.row * rows / cluster.network
            held = (
                (_TWICE if routed else 1) * data.row * rows
            )  # a block beside routed rows takes those that it refers to
            out.append(Stage(name, "broadcast", held, sent, seconds))
            continue
        moved = routed_rows(rows, data.ratings, blocks)
        sent = moved * data.row
        seconds = max((half + sent * constants.routed) / cluster.tasks, sent / line)
        out.append(Stage(name, "shuffle", _TWICE * min(rows, data.ratings / blocks) * data.row, sent, seconds))
    unknowns = data.features * (data.rank + 1)
    direct = unknowns <= MAX_UNKNOWNS
    way, sums, passes = ("direct", 2 * unknowns**2, 1) if direct else ("gradients", 8 * unknowns, _GRADIENT_PASSES)
    sent, least = float(sums * max(user_blocks, item_blocks) * passes), float(sums * passes)
    seconds = sent / line + min(sent, max(ADDED_LIMIT, least)) / cluster.network
    out.append(Stage("projections", way, sums, sent, seconds))
    model = data.row * (data.users + data.items)
    out.append(Stage("saving", "Parquet", data.row * data.users / user_blocks, model, model / line))
    search = data.users * data.items * data.rank * constants.product
    out.append(Stage("top-N of all users", "products", data.row * data.items, 0.0, search / cluster.tasks))
    return out


def constants_of(records: Sequence[Mapping[str, Any]]) -> Constants:
    """Constants as records of benchmarks have them; of two that have a section, the first one's.

    All but `product` are of the most executors that were measured, so that rows and pieces do pass between some, and
    cores that are threads of one are all busy.

    Raises
    ------
    ConfigError
        A section that they come from was not measured, or on another data set than the others.
    """
    names = sorted({str(r["dataset"]) for r in records})
    if len(names) > 1:
        raise ConfigError(f"the records are of several data sets: {', '.join(names)}")
    record: Mapping[str, Any] = next((r for r in records if r.get("contenders")), {})
    points = {(p["exchange_by"], p["executors"]): p for r in reversed(records) for p in r.get("weak", ())}
    ours = record.get("contenders", {}).get(record.get("terms", {}).get("ours"), {}).get("figures", {})
    most = max((executors for _, executors in points), default=0)
    wanted = {"weak": {("broadcast", most), ("shuffle", most)} <= set(points), "compare": "top_n" in ours}
    missing = [section for section, found in wanted.items() if not found]
    if missing:
        raise ConfigError(f"no record has a section {' nor '.join(missing)}: measure with --compare --weak")
    plain, routed = points["broadcast", most], points["shuffle", most]
    cores, rank = record["terms"]["cores"], record["terms"]["rank"]
    waits = [p["exchange"] + p["spark"] for p in (plain, routed)]
    return Constants(
        rank=rank,
        rating=plain["compute"] * most / plain["ratings"],
        build=plain["build"] * most / plain["ratings"],
        ranged=routed["build"] * most / routed["ratings"],
        routed=max(waits[1] - waits[0], 0.0) * most / routed["moved"],
        piece=plain["shuffled"] / plain["ratings"],
        product=ours["top_n"]["median"] * cores / (plain["users"] * plain["items"] * rank),
    )


def table(found: Sequence[Stage]) -> tuple[list[str], list[list[str]]]:
    """Heading and rows."""
    head = ["stage", "way", "a task holds, GB", "sent by all, GB", "seconds"]
    rows = [[s.name, s.way, *(_three(v) for v in (s.memory / 1e9, s.sent / 1e9, s.seconds))] for s in found]
    return head, rows


def _three(value: float) -> str:
    """Three digits of a number."""
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{round(value, digits):,.{digits}f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, or put it between the marks <!-- estimate:begin/end --> of a Markdown file."""
    parser = argparse.ArgumentParser(prog="recsys_spark.benchmark.estimate", description=__doc__)
    parser.add_argument("records", nargs="+", type=Path, metavar="RECORD", help="record.json of benchmarks")
    for name in ("users", "items", "ratings"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--features", type=int, default=50, help="feature columns of the side that has most")
    parser.add_argument("--executors", type=int, required=True)
    parser.add_argument("--cores", type=int, required=True, help="of each executor")
    parser.add_argument("--network", type=float, default=1.25, help="GB a second that an executor sends (1.25)")
    parser.add_argument("--write", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    constants = constants_of([json.loads(path.read_text(encoding="utf-8")) for path in args.records])
    data = Data(args.users, args.items, args.ratings, args.rank, args.features)
    cluster = Cluster(args.executors, args.cores, 1e9 * args.network)
    text = markdown(data, cluster, constants)
    if args.write:
        put_between(args.write, MARK, text)
    else:
        sys.stdout.write(text)
    return 0


def markdown(data: Data, cluster: Cluster, constants: Constants) -> str:
    """What is assumed, and the table."""
    user_blocks, item_blocks = blocks_of(data, cluster)
    told = (
        f"{data.users:,.0f} users × {data.items:,.0f} items, {data.ratings:,.0f} ratings, rank {data.rank}, "
        f"{data.features} feature columns; {cluster.executors:,} executors of {cluster.cores} cores, "
        f"{cluster.network / 1e9:g} GB a second each; {user_blocks:,} user blocks, {item_blocks:,} item blocks."
    )
    nanoseconds = ", ".join(
        f"{_three(1e9 * value)} ns {what}"
        for value, what in (
            (constants.rating, f"a rating and iteration at rank {constants.rank}"),
            (constants.build, "a rating to build"),
            (constants.ranged, "where ids are on executors"),
            (constants.routed, "a byte routed"),
            (constants.product, "a product"),
        )
    )
    measured = f"Constants, of one core: {nanoseconds}; {_three(constants.piece)} bytes of pieces a rating."
    return "\n".join([told, measured, "", *markdown_table(*table(stages(data, cluster, constants)))]) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
