"""The results of an evaluation as numbers by name, as JSON, and as a table to read; no Spark here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recsys_spark.evaluate.rating import RatingSums, bin_labels, total
from recsys_spark.pages import markdown_table

MODEL = "model"
"""The name under which the trained model stands beside the baselines."""

POPULARITY, SVD = "popularity", "svd"
"""Names of the rankers beside it."""

TITLES = {
    MODEL: "this model",
    "global_mean": "global mean",
    "biases": "biases only",
    "pyspark_als": "pyspark.ml ALS",
    "pyspark_als_centred": "pyspark.ml ALS, centred",
    POPULARITY: "popularity",
    SVD: "truncated SVD",
}

RANKED = {
    "ndcg": "NDCG",
    "precision": "precision",
    "recall": "recall",
    "map": "MAP",
    "mrr": "MRR",
    "hit_rate": "hit rate",
    "coverage": "coverage",
    "novelty": "novelty",
    "popularity_share": "popular",
}
"""Headings of the ranking metrics that `ranking` defines; novelty in bits, popular: share of the popular fifth."""


@dataclass(frozen=True)
class Report:
    """What an evaluation found.

    Attributes
    ----------
    sums : of each predictor (the model first, as MODEL) in each popularity bin
    bounds : lower bounds of the bins, in training ratings of the item
    ranking : metrics of the top-N lists of each ranker (the model first), as `contest.ranking_metrics` has them
    protocol : how they were found, in words
    """

    sums: Mapping[str, Sequence[RatingSums]]
    bounds: tuple[int, ...]
    ranking: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    protocol: str = ""

    @property
    def labels(self) -> list[str]:
        """Names of the bins."""
        return bin_labels(self.bounds)

    @property
    def rows(self) -> list[int]:
        """Test rows in each bin."""
        return [part.n + part.missing for part in self.sums[MODEL]]

    def rmse(self) -> dict[str, list[float]]:
        """RMSE of each bin, NaN where it has no rows, by the predictor's title."""
        return {title(name): [part.rmse for part in parts] for name, parts in self.sums.items()}

    def metrics(self) -> dict[str, float]:
        """Numbers by name, in rating units (accuracy: 0 to 1): rmse, mae and accuracy of the model and its rmse_cold.

        Those of a baseline end in its name: rmse_biases … NaN where no row counts. `test_rows` and `cold_rows` count.
        Ranking metrics likewise: ndcg, ndcg_popularity …, and `ranked_users` counts.
        """
        out: dict[str, float] = {}
        for name, parts in self.sums.items():
            end = "" if name == MODEL else f"_{name}"
            whole = total(parts)
            out |= {f"rmse{end}": whole.rmse, f"mae{end}": whole.mae, f"accuracy{end}": whole.accuracy}
            out[f"rmse_cold{end}"] = parts[0].rmse if self.cold else math.nan
        for name, found in self.ranking.items():
            end = "" if name == MODEL else f"_{name}"
            out |= {f"{metric}{end}": found[metric] for metric in RANKED}
        if self.ranking:
            out["ranked_users"] = self.ranking[MODEL]["users"]
        return out | {"test_rows": sum(self.rows), "cold_rows": self.rows[0] if self.cold else 0}

    def finite_metrics(self) -> dict[str, float | None]:
        """:meth:`metrics` with None for NaN, as JSON needs."""
        return {name: _number(value) for name, value in self.metrics().items()}

    @property
    def cold(self) -> bool:
        """Whether the first bin is that of items without training ratings, and of no others."""
        return self.labels[0] == "0"

    def bins(self) -> list[dict[str, Any]]:
        """A record per predictor and bin."""
        return [
            {
                "predictor": name,
                "bin": label,
                "low": low,
                "n": part.n,
                "rmse": _number(part.rmse),
                "mae": _number(part.mae),
                "accuracy": _number(part.accuracy),
            }
            for name, parts in self.sums.items()
            for label, low, part in zip(self.labels, self.bounds, parts, strict=True)
        ]

    def to_json(self) -> str:
        """Metrics and bins as JSON; NaN becomes null."""
        found: dict[str, Any] = {"metrics": self.finite_metrics(), "bins": self.bins()}
        if self.ranking:
            found["ranking_protocol"] = self.protocol
        return json.dumps(found, indent=2, ensure_ascii=False) + "\n"

    def to_markdown(self) -> str:
        """A row per predictor: RMSE, MAE, accuracy, and RMSE by bin, the best of each bold; and one per ranker."""
        used = [b for b, n in enumerate(self.rows) if n]
        header = ["", "RMSE", "MAE", "accuracy", *(f"RMSE {self.labels[b]}" for b in used)]
        wholes = {name: total(parts) for name, parts in self.sums.items()}
        values = {
            name: [wholes[name].rmse, wholes[name].mae, -wholes[name].accuracy, *(parts[b].rmse for b in used)]
            for name, parts in self.sums.items()
        }
        best = [min(column) for column in zip(*values.values(), strict=True)]
        lines = []
        for name, row in values.items():
            cells = [f"{-value:.1%}" if j == 2 else f"{value:.4f}" for j, value in enumerate(row)]
            lines.append([title(name)])
            for cell, value, low in zip(cells, row, best, strict=True):
                lines[-1].append(f"**{cell}**" if value == low else cell)
        lines.append(["test rows", *[f"{sum(self.rows):,}"] * 3, *(f"{self.rows[b]:,}" for b in used)])
        text = "\n".join(markdown_table(header, lines)) + "\n"
        return text + self._ranking_markdown() if self.ranking else text

    def _ranking_markdown(self) -> str:
        rows = [[title(name), *ranked_cells(found)] for name, found in self.ranking.items()]
        return "\n".join(["", self.protocol, "", *markdown_table(["", *RANKED.values()], rows)]) + "\n"


def ranked_cells(found: Mapping[str, float]) -> list[str]:
    """Ranking metrics to read, in the order of RANKED; shares in percent, novelty in bits."""
    shares = ("hit_rate", "coverage", "popularity_share")
    styles = {name: ".1%" if name in shares else ".2f" if name == "novelty" else ".4f" for name in RANKED}
    return [format(found[name], style) for name, style in styles.items()]


def title(name: str) -> str:
    """A predictor's name to read."""
    return TITLES.get(name, name.replace("_", " "))


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
