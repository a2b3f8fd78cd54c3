"""A study's results as a table and sentences in Markdown; no Spark here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recsys_spark.pages import markdown_table, put_between

FULL, RETUNED, AT_FULL = "full", "retuned", "at_full"
MARK = "study"
"""Of the lines between which `write_table` puts the table."""

_TITLES = {"pyspark_als": "pyspark.ml ALS", "full": "**full**"}
_PARTS = {
    "no_features": "features (genres and years)",
    "no_graph": "the graph between films",
    "no_pop_reg": "shrinkage by popularity",
    "biases_only": "factors",
    "no_biases": "biases",
}
_LEVEL = 0.05


def title(name: str) -> str:
    """A variant's name to read."""
    return _TITLES.get(name, name.replace("_", " ")).strip("*")


def table(results: Mapping[str, Any]) -> str:
    """A row a variant: RMSE tuned anew and its distance from full, other metrics, and RMSE at full's parameters."""
    own, given = results["settings"][RETUNED], results["settings"][AT_FULL]
    head = (
        "variant", "test RMSE", "Δ to full", "95 % over folds", "worse in folds", "95 % over users", "p over users",
        "p over folds", "train RMSE", "MAE", "accuracy", "cold films", f"NDCG@{results['list_length']}", "seconds",
        "RMSE, full's parameters",
    )  # fmt: skip
    rows = []
    for name, found in own.items():
        against = found["against_full"]
        compared = _compared(against) if against else ("–",) * 6
        rest = (
            _number(found["train_rmse"]), _number(found["mae"]), _share(found["accuracy"]), _number(found["rmse_cold"]),
            _number(found["ndcg"]), _number(found["seconds"], 2), _number(given[name]["rmse"]),
        )  # fmt: skip
        rows.append((_TITLES.get(name, title(name)), _number(found["rmse"]), *compared, *rest))
    return "\n".join(markdown_table(head, rows)) + "\n"


def statements(results: Mapping[str, Any]) -> list[str]:
    """What was found, in sentences."""
    own, optimism = results["settings"][RETUNED], results["optimism"]
    full = own[FULL]
    found = [
        f"The full model has a test RMSE of {full['rmse']:.4f}, the mean over {results['folds']} outer folds "
        f"({', '.join(f'{v:.4f}' for v in full['rmse_folds'])}), its settings tuned inside each."
    ]
    for name, part in _PARTS.items():
        if name in own and own[name]["against_full"]:
            found.append(_statement(part, own[name]["against_full"]))
    found.append(
        f"Tuned on the test folds themselves, the best trial has {optimism['on_test_folds']:.4f}: that is "
        f"{abs(optimism['gain']):.4f} {'better' if optimism['gain'] >= 0 else 'worse'} than the honest figure."
    )
    floor = 2 / 2 ** results["folds"]
    found.append(
        f"A sign test over {results['folds']} folds cannot go below p = {floor:.2g}; smallest found: "
        f"{min((v['against_full']['p_sign'] for v in own.values() if v['against_full']), default=float('nan')):.2g}."
    )
    return found


def markdown(results: Mapping[str, Any]) -> str:
    """Table, sentences and what the columns mean."""
    lines = "\n".join(f"- {text}" for text in statements(results))
    return f"{table(results)}\n{NOTES}\n\n{lines}\n"


NOTES = (
    "Variants are tuned anew inside each fold, on a smaller budget than full and begun from its parameters. Δ is the "
    "mean over folds; its interval is corrected for overlapping training sets (Nadeau and Bengio), that over users is "
    "of pooled errors, users resampled; users share the films' factors, so it speaks of new users, not of new models. "
    "p-values are adjusted over variants (Benjamini and Hochberg): over users of exchanging models within users, over "
    "folds of the corrected t. Training RMSE is unclipped, all else clipped to the scale."
)


def write_table(path: Path, results: Mapping[str, Any]) -> None:
    """Put the table and the sentences between the marks of a Markdown file.

    Raises
    ------
    ConfigError
        The file has no such marks.
    """
    put_between(path, MARK, markdown(results))


def _statement(part: str, against: Mapping[str, Any]) -> str:
    gain, interval = against["difference"], f"[{against['users_low']:+.4f}, {against['users_high']:+.4f}]"
    folds = f"[{_signed(against['low'])}, {_signed(against['high'])}]"
    p, worse = against["p_users_adjusted"], f"worse in {against['worse_folds']} of {against['folds']} folds"
    clear = p < _LEVEL and (against["users_low"] > 0) == (against["users_high"] > 0)
    if not clear:
        verdict = "no effect found"
    else:
        verdict = "it helps" if gain > 0 else "it harms"
        if against["low"] is not None and against["low"] <= 0 <= against["high"]:
            verdict += " users of these models; over folds it cannot be told from no effect"
    return (
        f"Without {part}: RMSE {gain:+.4f}, 95 % {interval} over users, {folds} over folds, {worse}, adjusted p over "
        f"users {p:.2g}: {verdict}."
    )


def _compared(against: Mapping[str, Any]) -> Sequence[str]:
    return (
        f"{against['difference']:+.4f}",
        f"[{_signed(against['low'])}, {_signed(against['high'])}]",
        f"{against['worse_folds']} of {against['folds']}",
        f"[{against['users_low']:+.4f}, {against['users_high']:+.4f}]",
        f"{against['p_users_adjusted']:.2g}",
        "–" if against["p_corrected_t_adjusted"] is None else f"{against['p_corrected_t_adjusted']:.2g}",
    )


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}"


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
