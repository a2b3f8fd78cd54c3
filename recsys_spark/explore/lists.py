"""Lists of films with their titles, of users and of newcomers, and why they are what they are; driver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F

from recsys_spark.schema import ITEM, PREDICTION, RATING, SCORE, TITLE, USER

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from recsys_spark.ml.model import BlockALSModel


def best_known(ratings: DataFrame, movies: DataFrame, genres: Sequence[str]) -> pd.DataFrame:
    """Of each genre the film with most ratings, each film once: (genre, item, title)."""
    counted = ratings.groupBy(ITEM).agg(F.count(F.lit(1)).alias("n"))
    listed = movies.select(ITEM, TITLE, F.explode("genres").alias("genre")).where(F.col("genre").isin(list(genres)))
    place = F.row_number().over(Window.partitionBy("genre").orderBy(F.desc("n"), ITEM))
    ranked = listed.join(counted, ITEM).withColumn("place", place).where(F.col("place") <= len(genres))
    taken: dict[int, tuple[str, str]] = {}
    found = ranked.orderBy("place", F.desc("n")).collect()
    for genre in genres:
        first = next((r for r in found if r["genre"] == genre and r[ITEM] not in taken), None)
        if first is not None:
            taken[first[ITEM]] = (genre, first[TITLE])
    return pd.DataFrame([(g, item, t) for item, (g, t) in taken.items()], columns=["genre", ITEM, TITLE])


def newcomers(
    model: BlockALSModel,
    movies: DataFrame,
    liked: Sequence[int],
    n: int,
    *,
    rating: float,
    betas: Sequence[float],
    least: float = 0,
) -> pd.DataFrame:
    """What people get who have rated a single film: (liked, beta, place, title, score), by fold-in, without training.

    Parameters
    ----------
    liked : items, one newcomer each
    rating : that each of them gave
    betas : weights of the items' biases in the order (`BlockALSModel.recommendForUserSubset`)
    least : training ratings that a recommended film has at least
    """
    spark = movies.sparkSession
    rows = [(-1 - at, int(item), float(rating)) for at, item in enumerate(liked)]
    given = spark.createDataFrame(rows, f"{USER} long, {ITEM} long, {RATING} double")
    folded = model.foldInUsers(given)
    parts = []
    for beta in betas:
        found = folded.recommendForUserSubset(given, n, excludeSeen=given, itemBiasWeight=beta, minRatings=least)
        one = found.select(USER, F.posexplode("recommendations").alias("place", "r"))
        parts.append(one.select(USER, F.lit(beta).alias("beta"), F.col("place") + 1, f"r.{ITEM}", "r.rating"))
    union = parts[0]
    for part in parts[1:]:
        union = union.union(part)
    titles = movies.select(ITEM, TITLE)
    named = union.toDF(USER, "beta", "place", ITEM, SCORE).join(titles, ITEM, "left").toPandas()
    own = titles.where(F.col(ITEM).isin([int(i) for i in liked])).toPandas().set_index(ITEM)[TITLE]
    who = {user: own.get(item, f"film {item}") for user, item, _ in rows}
    named = named.sort_values([USER, "beta", "place"], ascending=[False, False, True], ignore_index=True)
    named.insert(0, "liked", named[USER].map(who))
    return named[["liked", "beta", "place", TITLE, SCORE]]


def side_by_side(found: pd.DataFrame, beta: float) -> pd.DataFrame:
    """The newcomers' lists under one β: a column for each liked film, a row for each place."""
    one = found[found["beta"] == beta]
    return one.pivot(index="place", columns="liked", values=TITLE)[list(dict.fromkeys(one["liked"]))]


def overlap(found: pd.DataFrame) -> pd.Series:
    """By β: the share of two newcomers' films that is the same, the mean over all pairs of newcomers."""
    shares = {}
    for beta, one in found.groupby("beta"):
        lists = [set(films) for _, films in one.groupby("liked")[TITLE]]
        pairs = [(a, b) for i, a in enumerate(lists) for b in lists[i + 1 :]]
        shares[beta] = sum(len(a & b) / max(len(a), len(b)) for a, b in pairs) / max(len(pairs), 1)
    return pd.Series(shares, name="overlap").rename_axis("beta").sort_index(ascending=False)


def similar(model: BlockALSModel, movies: DataFrame, items: Sequence[int], n: int, least: float = 0) -> pd.DataFrame:
    """The n nearest films of each by the cosine of their factors: (of: the item, place, title, similarity).

    Parameters
    ----------
    least : training ratings that a neighbour has at least: films with few lie where their genres and year put them
    """
    side = model.fitted.item
    known = movies.sparkSession.createDataFrame(pa.table({ITEM: side.ids.filter(pa.array(side.counts >= least))}))
    found = model.similarItems([int(i) for i in items], len(side) if least > 0 else n)
    flat = found.select(F.col(ITEM).alias("of"), F.explode("similar").alias("s")).select(
        "of", f"s.{ITEM}", "s.similarity"
    )
    place = F.row_number().over(Window.partitionBy("of").orderBy(F.desc("similarity"), ITEM)).alias("place")
    nearest = flat.join(known, ITEM).select("of", place, ITEM, "similarity").where(F.col("place") <= n)
    named = nearest.join(movies.select(ITEM, TITLE), ITEM, "left").toPandas()
    return named.sort_values(["of", "place"], ignore_index=True)[["of", "place", TITLE, "similarity"]]


def explanation(
    model: BlockALSModel, user: int, item: int, ratings: DataFrame, features: DataFrame, movies: DataFrame
) -> pd.DataFrame:
    """A score as lines that add up to it: (term, title: of the rated film, rating: given to it, contribution).

    `ratings` and the users' `features` are those of the training; lines as `BlockALSModel.explain` orders them.
    """
    lines = model.explain(user, item, ratings, features).toPandas()
    own = ratings.where(F.col(USER) == user).join(movies.select(ITEM, TITLE), ITEM, "left").toPandas()
    known = own.drop_duplicates(ITEM).set_index(ITEM)
    lines[TITLE] = lines["id"].map(known[TITLE]).fillna(lines["name"]).fillna("")
    lines[RATING] = lines["id"].map(known[RATING])
    return lines[["term", TITLE, RATING, "contribution"]]


def worst(predictions: DataFrame, movies: DataFrame, n: int) -> pd.DataFrame:
    """The test ratings that the model misses by most: (user, title, rating, prediction, train_count, error)."""
    error = (F.col(PREDICTION) - F.col(RATING)).alias("error")
    missed = predictions.select(USER, ITEM, RATING, PREDICTION, "train_count", error)
    first = missed.orderBy(F.desc(F.abs("error")), USER, ITEM).limit(n)
    named = first.join(movies.select(ITEM, TITLE), ITEM, "left").toPandas()
    named = named.sort_values("error", key=abs, ascending=False, ignore_index=True)
    return named[[USER, TITLE, RATING, PREDICTION, "train_count", "error"]]


def concentration(recommendations: DataFrame, movies: DataFrame, n: int) -> pd.DataFrame:
    """The films that stand in most lists: (title, lists, share: of all lists)."""
    users = recommendations.select(USER).distinct().count()
    counted = recommendations.groupBy(ITEM).agg(F.count(F.lit(1)).alias("lists"))
    first = counted.orderBy(F.desc("lists"), ITEM).limit(n).join(movies.select(ITEM, TITLE), ITEM, "left").toPandas()
    ordered = first.sort_values("lists", ascending=False, ignore_index=True)
    return ordered.assign(share=ordered["lists"] / users)[[TITLE, "lists", "share"]]
