"""The study's table, sentences and page, from results made by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from recsys_spark.errors import ConfigError
from recsys_spark.study.page import page
from recsys_spark.study.report import MARK, markdown, statements, table, write_table


def variant(rmse: float, against: dict[str, Any] | None = None) -> dict[str, Any]:
    numbers = {"train_rmse": 0.6, "mae": 0.62, "accuracy": 0.261, "rmse_cold": None, "ndcg": 0.04, "seconds": 1.25}
    return {"rmse": rmse, "rmse_folds": [rmse - 0.001, rmse + 0.001], **numbers, "against_full": against}


def comparison(difference: float, p: float, *, interval: float = 0.002) -> dict[str, Any]:
    ends = {"low": difference - interval, "high": difference + interval}
    return {
        "folds": 2,
        "difference": difference,
        "worse_folds": 2 if difference > 0 else 0,
        "p_sign": 0.5,
        "p_users_adjusted": p,
        "p_corrected_t_adjusted": None,
        **ends,
        **{f"users_{name}": value for name, value in ends.items()},
    }


def results() -> dict[str, Any]:
    own = {
        "full": variant(0.82),
        "no_features": variant(0.85, comparison(0.03, 0.0004)),
        "no_graph": variant(0.8201, comparison(0.0001, 0.6)),
        "no_pop_reg": variant(0.815, comparison(-0.005, 0.001)),
        "a<b": variant(0.9, comparison(0.08, 0.001)),
    }
    optimism = {"honest": 0.82, "on_test_folds": 0.8188, "gain": 0.0012}
    return {
        "folds": 2,
        "list_length": 10,
        "settings": {"retuned": own, "at_full": {name: variant(v["rmse"] + 0.01) for name, v in own.items()}},
        "optimism": optimism,
    }


def test_the_table_has_a_row_a_variant_and_a_cell_a_column():
    lines = table(results()).splitlines()
    assert len(lines) == 2 + 5
    assert len({line.count(" | ") for line in lines}) == 1
    assert "| **full** | 0.8200 | – |" in lines[2]
    assert "| no features | 0.8500 | +0.0300 | [+0.0280, +0.0320] | 2 of 2 |" in lines[3]
    assert lines[3].endswith("| 26.1% | – | 0.0400 | 1.25 | 0.8600 |")


def test_what_was_found_is_said():
    said = "\n".join(statements(results()))
    assert "test RMSE of 0.8200, the mean over 2 outer folds (0.8190, 0.8210)" in said
    assert re.search(r"Without features .*\+0\.0300.*p over users 0\.0004: it helps\.", said)
    assert re.search(r"Without the graph.*\+0\.0001.*no effect found\.", said)
    assert re.search(r"Without shrinkage.*-0\.0050.*: it harms\.", said)
    assert "best trial has 0.8188: that is 0.0012 better than the honest figure" in said
    assert "2 folds cannot go below p = 0.5; smallest found: 0.5" in said


def test_a_wide_interval_is_no_effect_however_small_p():
    found = results()
    found["settings"]["retuned"]["no_graph"] = variant(0.83, comparison(0.01, 0.001, interval=0.02))
    assert "Without the graph between films: RMSE +0.0100" in statements(found)[2]
    assert statements(found)[2].endswith("no effect found.")


def test_what_only_these_models_show_is_said_so():
    found = results()
    found["settings"]["retuned"]["no_graph"] = variant(0.83, comparison(0.01, 0.001) | {"low": -0.01, "high": 0.03})
    expected = "0.001: it helps users of these models; over folds it cannot be told from no effect."
    assert statements(found)[2].endswith(expected)


def test_the_page_needs_no_other_file():
    text = page(results(), {"one": b"\x89PNG", "two": b"x"}, {"dataset": "ml <small>", "git.commit": "abc"})
    assert text.count("data:image/png;base64,") == 2
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "<b>full</b>" in text
    assert "<td>a&lt;b</td>" in text
    assert "ml &lt;small&gt;" in text
    rows = [row.count("<td>") for row in re.findall(r"<tr>.*?</tr>", text) if "<td>" in row]
    assert rows[:5] == [15] * 5


BEGIN, END = f"<!-- {MARK}:begin -->", f"<!-- {MARK}:end -->"


def test_the_table_goes_between_the_marks_of_a_file(tmp_path: Path):
    file = tmp_path / "page.md"
    file.write_text(f"before\n{BEGIN}\nformer words\n{END}\nafter\n", encoding="utf-8")
    write_table(file, results())
    once = file.read_text(encoding="utf-8")
    assert once.startswith(f"before\n{BEGIN}\n\n| variant |")
    assert once.endswith(f"\n{END}\nafter\n")
    assert "former words" not in once
    assert markdown(results()) in once
    write_table(file, results())
    assert file.read_text(encoding="utf-8") == once
    for text in ("nothing", f"{BEGIN} only"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match="has no lines <!-- study:begin --> and <!-- study:end -->"):
            write_table(file, results())
        assert file.read_text(encoding="utf-8") == text
