"""A generated world as a release folder in MovieLens' format. Driver; the ratings are drawn and written by tasks."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recsys_spark.generate import tasks
from recsys_spark.generate.facts import GENRES, GROUPS, NO_GENRES
from recsys_spark.generate.preset import Preset
from recsys_spark.generate.readme import readme
from recsys_spark.generate.titles import draw_titles
from recsys_spark.generate.world import World, draw_world
from recsys_spark.lake import Draft, Published, publish
from recsys_spark.lake.fs import delete, list_dir, locate

if TYPE_CHECKING:
    from pyspark import Broadcast
    from pyspark.sql import DataFrame, SparkSession

_TASKS_PER_CORE = 2
_EOL = "\r\n"


def generate(spark: SparkSession, preset: Preset, seed: int, root: str) -> Published:
    """Generate a release and publish it under `root` as step "generate" (nothing is done if it is there already).

    The version's folder holds ratings.csv, movies.csv, tags.csv, users.csv and README.txt. With `preset.parts`,
    ratings.csv and tags.csv are directories of CSV files with a header each, as Spark writes them; otherwise files.

    Returns
    -------
    Published
        Its manifest's `extra` holds the oracles (see `oracle`) and facts: `ratings`, `users`, `films`, `rated_films`,
        `rarely_rated_films` (1-2 ratings), `cold_users`, `top_film`, `top_user`, `rating_mean`, `rating_std`,
        `histogram` (share by rating), `first_timestamp`, `last_timestamp`.
    """
    world = draw_world(preset, seed)
    return publish(
        spark,
        root,
        step="generate",
        settings={"preset": asdict(preset), "seed": seed, "spread": asdict(world.spread)},
        inputs={},
        write=lambda draft: _write(spark, world, draft),
    )


def movies_csv(world: World) -> str:
    """The content of movies.csv, by movieId."""
    titles, genres, films = draw_titles(world.films, world.seed), tuple(GENRES), world.films
    rows = [
        (int(films.ids[film]), titles[film], "|".join(genres[g] for g in films.genres[film].nonzero()[0]) or NO_GENRES)
        for film in films.ids.argsort()
    ]
    return _csv(("movieId", "title", "genres"), rows)


def users_csv(world: World) -> str:
    """The content of users.csv: every user, with or without ratings."""
    groups, people = tuple(GROUPS), world.people
    rows = ((int(user), groups[group]) for user, group in zip(people.ids, people.group, strict=True))
    return _csv(("userId", "group"), rows)


def packed_ratings(spark: SparkSession, world: World, broadcast: Broadcast[World]) -> DataFrame:
    """All ratings as packed chunks (`tasks.PACKED_DDL`), in the order of the users."""
    chunks = len(world.chunks) - 1
    partitions = min(chunks, _TASKS_PER_CORE * spark.sparkContext.defaultParallelism)
    return spark.range(0, chunks, 1, partitions).mapInArrow(_on(broadcast, tasks.draw_chunks), tasks.PACKED_DDL)


def rating_rows(packed: DataFrame, broadcast: Broadcast[World]) -> DataFrame:
    """The rows of ratings.csv (`tasks.RATINGS_CSV_DDL`) from packed chunks, in their order."""
    return packed.mapInArrow(_on(broadcast, tasks.write_ratings), tasks.RATINGS_CSV_DDL)


def measure(packed: DataFrame, world: World, broadcast: Broadcast[World]) -> dict[str, Any]:
    """Oracles and facts of the drawn ratings; sums are exact (`math.fsum`), in an order that nothing depends on."""
    buckets = len(world.chunks) - 1
    by_chunk = packed.mapInArrow(_on(broadcast, tasks.measure_chunks), tasks.CHUNK_FACTS_DDL).collect()
    pieces = packed.mapInArrow(lambda batches: tasks.split_by_film(buckets, batches), tasks.BUCKET_DDL)
    by_bucket = (
        pieces.groupBy("bucket")
        .applyInArrow(lambda table: tasks.measure_bucket(broadcast.value, table), tasks.BUCKET_FACTS_DDL)
        .collect()
    )
    held_out = sum(row["held_out"] for row in by_chunk)
    floor = math.fsum(row["floor"] for row in by_chunk) / held_out
    user = math.fsum(row["users"] for row in by_chunk) / held_out
    item = math.fsum(row["items"] for row in by_bucket) / held_out
    codes = [sum(row["codes"][code] for row in by_chunk) for code in range(11)]
    ratings = sum(codes)
    mean = sum(code * n for code, n in enumerate(codes)) / 2 / ratings
    square = sum(code**2 * n for code, n in enumerate(codes)) / 4 / ratings
    return {
        "floor_rmse": math.sqrt(floor),
        "user_oracle": math.sqrt(user),
        "item_oracle": math.sqrt(item),
        "oracle_rmse": math.sqrt(user + item - floor),
        "ratings": ratings,
        "users": len(world.people.activity),
        "cold_users": len(world.people.ids) - len(world.people.activity),
        "films": len(world.films.ids),
        "rated_films": sum(row["rated"] for row in by_bucket),
        "rarely_rated_films": sum(row["few"] for row in by_bucket),
        "top_film": max(row["top"] for row in by_bucket),
        "top_user": int(world.people.activity.max()),
        "rating_mean": mean,
        "rating_std": math.sqrt(square - mean**2),
        "histogram": {str(code / 2): codes[code] / ratings for code in range(1, 11)},
        "first_timestamp": min(row["first"] for row in by_chunk),
        "last_timestamp": max(row["last"] for row in by_chunk),
    }


def _write(spark: SparkSession, world: World, draft: Draft) -> dict[str, Any]:
    from pyspark import StorageLevel

    broadcast = spark.sparkContext.broadcast(world)
    packed = packed_ratings(spark, world, broadcast).persist(StorageLevel.DISK_ONLY)
    try:
        ratings = rating_rows(packed, broadcast)
        tags = packed.mapInArrow(_on(broadcast, tasks.write_tags), tasks.TAGS_CSV_DDL)
        for frame, name in ((ratings, "ratings.csv"), (tags, "tags.csv")):
            if world.preset.parts:
                _write_csv(frame, f"{draft.path}/{name}", header=True)
            else:
                _write_one_csv(spark, frame, f"{draft.path}/{name}")
            _drop_checksums(spark, f"{draft.path}/{name}")
        draft.write_text("movies.csv", movies_csv(world))
        draft.write_text("users.csv", users_csv(world))
        found = measure(packed, world, broadcast)
        draft.write_text("README.txt", readme(world.preset, world.seed, found))
    finally:
        packed.unpersist(blocking=True)
        broadcast.destroy()
    return found


def _on(
    broadcast: Broadcast[World], task: Callable[[World, Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]
) -> Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]:
    return lambda batches: task(broadcast.value, batches)


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=_EOL)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _write_csv(frame: DataFrame, path: str, *, header: bool) -> None:
    options: dict[str, Any] = {"lineSep": _EOL, "quote": '"', "escape": '"'}
    options |= {"ignoreLeadingWhiteSpace": False, "ignoreTrailingWhiteSpace": False}
    frame.write.options(header=header, **options).csv(path)


def _write_one_csv(spark: SparkSession, frame: DataFrame, path: str) -> None:
    """One file with one header: tasks write parts, which are joined in their order (that of the users)."""
    parts = f"{path}.parts"
    _write_csv(frame, parts, header=False)
    at = locate(spark, path)
    out = at.fs.create(at.path, True)
    try:
        out.write(bytearray(",".join(frame.columns) + _EOL, "utf-8"))
        for name, is_dir, size, _ in list_dir(spark, parts):
            if name.startswith("part-") and not is_dir and size > 0:
                source = locate(spark, f"{parts}/{name}")
                stream = source.fs.open(source.path)
                try:
                    at.jvm.org.apache.hadoop.io.IOUtils.copyBytes(stream, out, 1 << 20)
                finally:
                    stream.close()
    finally:
        out.close()
    delete(spark, parts)


def _drop_checksums(spark: SparkSession, path: str) -> None:
    """Remove the side files of Hadoop's local file system: with them, no one could edit a copy of the release."""
    local = locate(spark, path).local
    if local is not None:
        for file in [*local.rglob(".*.crc"), local.with_name(f".{local.name}.crc")]:
            file.unlink(missing_ok=True)
