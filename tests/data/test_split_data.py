"""All data of a run: read, checked, split, and recorded."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import DataError
from tfft.splitting import Sources, SplitData, fold_data, split_data


def split(source: Any, stream: io.StringIO | None = None, **options: Any) -> SplitData:
    """Splits data with the given options."""
    config = FitConfig(task="text_classification", **options)
    sources = Sources(source, config.validation_data, config.test_data, config.synthetic_data)
    return split_data(config, sources, Console(stream=stream or io.StringIO()))


@pytest.fixture
def held_out(tmp_path: Path) -> dict[str, str]:
    """Files for validation and test."""
    validation, test = tmp_path / "validation.csv", tmp_path / "test.jsonl"
    validation.write_text("label,text\ngood,fine\nbad,poor\ngood,great\n", "utf-8")
    test.write_text('{"text": "so so", "label": "bad"}\n', "utf-8")
    return {"validation_data": str(validation), "test_data": str(test)}


def test_fractions_divide_the_rows_and_the_record_names_them(opinions: pd.DataFrame) -> None:
    stream = io.StringIO()
    splits = split(opinions, stream, validation_fraction=0.1, test_fraction=0.2)
    assert splits.record["sizes"] == {"train": 42, "validation": 6, "test": 12}
    assert splits.labels == ["bad", "good"]
    assert stream.getvalue().endswith("splits: train 42 rows, validation 6 rows, test 12 rows\n")
    texts, labels = opinions["text"].tolist(), opinions["label"].tolist()
    for name in ("validation", "test"):
        rows = splits.record["rows"][name]
        assert splits.examples[name].texts == [texts[row - 1] for row in rows]
        assert [splits.labels[number] for number in splits.targets[name]] == [labels[row - 1] for row in rows]
        assert Counter(labels[row - 1] for row in rows) == {"good": len(rows) / 2, "bad": len(rows) / 2}
    everything = [text for part in splits.examples.values() for text in part.texts]
    assert sorted(everything) == sorted(texts)


def test_given_files_leave_all_rows_to_training(opinions: pd.DataFrame, held_out: dict[str, str]) -> None:
    splits = split(opinions, **held_out)
    assert splits.record["sizes"] == {"train": 60, "validation": 3, "test": 1}
    assert splits.examples["validation"].texts == ["fine", "poor", "great"]
    assert splits.targets["validation"].tolist() == [1, 0, 1]
    assert splits.targets["test"].tolist() == [0]
    assert splits.record["rows"] == {"validation": [1, 2, 3], "test": [1]}
    assert {name: found["source"] for name, found in splits.record["sources"].items()} == {
        "train": "<DataFrame>",
        "validation": held_out["validation_data"],
        "test": held_out["test_data"],
    }


def test_one_given_file_leaves_the_other_split_to_its_fraction(
    opinions: pd.DataFrame, held_out: dict[str, str]
) -> None:
    splits = split(opinions, validation_data=held_out["validation_data"], test_fraction=0.1)
    assert splits.record["sizes"] == {"train": 54, "validation": 3, "test": 6}


def test_report_is_made_on_validation_only_when_there_is_no_test_split(opinions: pd.DataFrame) -> None:
    with_test = split(opinions)
    assert (with_test.report_split, with_test.report_title) == ("test", "test")
    without = split(opinions, test_fraction=0.0)
    assert "test" not in without.examples
    assert without.report_split == "validation"
    assert "optimistic" in without.report_title


def test_split_is_the_same_for_the_same_seed_and_any_order_of_rows(opinions: pd.DataFrame) -> None:
    one, other = split(opinions, seed=4), split(opinions.iloc[::-1], seed=4)
    assert sorted(one.examples["test"].texts) == sorted(other.examples["test"].texts)
    assert sorted(one.examples["test"].texts) != sorted(split(opinions, seed=5).examples["test"].texts)


def test_fingerprint_changes_with_a_cell_and_not_with_reading(opinions: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "opinions.csv"
    opinions.to_csv(path, index=False)
    first = split(path).record["sources"]["train"]
    assert split(path).record["sources"]["train"] == first
    in_memory = split(opinions).record["sources"]["train"]
    assert in_memory["cells_sha256"] == first["cells_sha256"]
    opinions.assign(text=["changed", *opinions["text"][1:]]).to_csv(path, index=False)
    changed = split(path).record["sources"]["train"]
    assert {name for name in first if first[name] != changed[name]} == {"cells_sha256", "file_sha256"}


def test_dropped_rows_are_recorded_by_split_and_reason(opinions: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("text,label\na,good\n,good\nb,\nc,bad\n", "utf-8")
    holes = opinions.astype(object)
    holes.iloc[[2, 5], 0] = [None, " "]
    stream = io.StringIO()
    splits = split(holes, stream, test_data=str(tmp_path / "test.csv"))
    assert splits.record["dropped"] == {
        "train": {"null text": [3], "blank text": [6]},
        "test": {"blank text": [2], "blank label": [3]},
    }
    assert splits.record["sizes"]["train"] + splits.record["sizes"]["validation"] == 58
    assert splits.record["rows"]["test"] == [1, 4]
    assert not {3, 6} & set(splits.record["rows"]["validation"])
    assert "left out 2 of 60 rows" in stream.getvalue()
    assert "left out 2 of 4 rows" in stream.getvalue()


def test_label_that_training_never_saw_is_named_with_file_and_row(opinions: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("text,label\na,good\nb,goood\n", "utf-8")
    with pytest.raises(DataError, match=r"test\.csv, row 2: Unknown label 'goood'\. Did you mean 'good'\?"):
        split(opinions, test_data=str(tmp_path / "test.csv"))


def test_null_cells_fail_when_told_to(opinions: pd.DataFrame) -> None:
    holes = opinions.astype(object)
    holes.iloc[7, 1] = None
    with pytest.raises(DataError, match=r"<DataFrame>: 1 with null label \(row 8\)"):
        split(holes, quality={"missing": "fail"})


def test_only_the_columns_of_the_task_are_needed_under_any_name(opinions: pd.DataFrame) -> None:
    renamed = opinions.rename(columns={"text": "review", "label": "stars"}).assign(other=1)
    splits = split(renamed, text_column="review", label_column="stars")
    assert splits.record["sources"]["train"]["columns"] == ["review", "stars"]
    assert splits.examples["test"].texts == split(opinions).examples["test"].texts


def test_leakage_between_given_files_fails_and_can_be_dropped(opinions: pd.DataFrame, tmp_path: Path) -> None:
    opinions.iloc[[3, 10]].to_csv(tmp_path / "test.csv", index=False)
    options = {"test_data": str(tmp_path / "test.csv"), "validation_fraction": 0.0}
    with pytest.raises(DataError, match=r"leakage: 2 .*train rows 4, 11"):
        split(opinions, **options)
    splits = split(opinions, **options, quality={"leakage": "drop"})
    assert splits.record["sizes"] == {"train": 58, "test": 2}
    assert splits.record["dropped_by_checks"] == {"train": {"leakage": [4, 11]}}
    assert not set(splits.examples["train"].texts) & set(splits.examples["test"].texts)


def test_duplicates_are_never_torn_apart_by_the_splits_own_making(opinions: pd.DataFrame) -> None:
    twice = pd.concat([opinions, opinions, opinions.assign(text=opinions["text"].str.upper() + " ")])
    splits = split(twice, validation_fraction=0.2, test_fraction=0.2)
    texts = [{text.strip().lower() for text in part.texts} for part in splits.examples.values()]
    assert sum(map(len, texts)) == 60
    assert splits.record["sizes"] == {"train": 108, "validation": 36, "test": 36}


def test_dropped_duplicates_are_recorded_with_their_rows(opinions: pd.DataFrame) -> None:
    twice = pd.concat([opinions, opinions.iloc[:5]])
    splits = split(twice, quality={"exact_duplicates": "drop"})
    rows = [row for by_reason in splits.record["dropped_by_checks"].values() for row in by_reason["exact_duplicates"]]
    assert sorted(rows) == [61, 62, 63, 64, 65]
    assert sum(splits.record["sizes"].values()) == 60


def test_streamed_rows_are_those_in_memory(opinions: pd.DataFrame) -> None:
    on_disk, in_memory = (split(opinions, split="hash", streaming=streaming, seed=3) for streaming in (True, False))
    assert on_disk.streamed
    assert not in_memory.streamed
    for name, part in in_memory.examples.items():
        assert list(on_disk.examples[name].texts) == list(part.texts)
        assert on_disk.targets[name].tolist() == in_memory.targets[name].tolist()
    assert on_disk.record["sources"] == in_memory.record["sources"]


def test_a_streamed_row_keeps_its_split_when_rows_are_added(opinions: pd.DataFrame) -> None:
    few = split(opinions.iloc[:40], streaming=True, seed=3)
    more = split(opinions, streaming=True, seed=3)
    for name, part in few.examples.items():
        assert set(part.texts) <= set(more.examples[name].texts)


def test_rows_a_split_column_does_not_name_come_from_training(opinions: pd.DataFrame) -> None:
    stream = io.StringIO()
    named = opinions.assign(part=["test" if row < 6 else "train" for row in range(60)])
    splits = split(named, stream, split_column="part", validation_fraction=0.2)
    assert splits.record["rows"]["test"] == [1, 2, 3, 4, 5, 6]
    assert splits.record["sizes"] == {"train": 43, "validation": 11, "test": 6}
    assert "part names no validation rows" in stream.getvalue()
    rows = [row for part in splits.examples.values() for row in part.rows.tolist()]
    assert sorted(rows) == list(range(1, 61))


def test_masking_is_consistent_over_all_splits(opinions: pd.DataFrame, tmp_path: Path) -> None:
    texts = [f"{text} ask person{row % 3}@example.com" for row, text in enumerate(opinions["text"])]
    table = opinions.assign(text=texts)
    table.iloc[:2].assign(text=["write to Person1@Example.com", "or to new@example.com"]).to_csv(
        tmp_path / "test.csv", index=False
    )
    stream = io.StringIO()
    splits = split(table, stream, mask_personal_data=True, test_data=str(tmp_path / "test.csv"))
    everything = " ".join(text for part in splits.examples.values() for text in part.texts)
    assert "@" not in everything
    assert list(splits.examples["test"].texts) == ["write to <EMAIL_2>", "or to <EMAIL_4>"]
    assert "masked" in stream.getvalue()


def test_each_row_is_tested_once_in_cross_validation(opinions: pd.DataFrame) -> None:
    config = FitConfig(task="text_classification", validation_fraction=0.1)
    folds = list(fold_data(config, Sources(opinions), 4, Console(quiet=True)))
    assert sorted(row for fold in folds for row in fold.record["rows"]["test"]) == list(range(1, 61))
    for fold in folds:
        assert abs(Counter(fold.examples["test"].labels)["good"] - 7.5) < 1
        rows = [row for part in fold.examples.values() for row in part.rows.tolist()]
        assert sorted(rows) == list(range(1, 61))


def test_rows_made_from_a_template_are_still_split_and_it_is_said() -> None:
    stream = io.StringIO()
    rows = [
        (f"the temperature in the boiler room is {row} degrees", "high" if row > 29 else "low") for row in range(60)
    ]
    splits = split(rows, stream)
    assert splits.record["sizes"] == {"train": 48, "validation": 6, "test": 6}
    assert stream.getvalue().count("only equal texts are kept in one split") == 1
    assert "near_leakage" in stream.getvalue()


def test_a_hash_keeps_other_spellings_of_a_text_in_its_split(opinions: pd.DataFrame) -> None:
    twice = pd.concat([opinions, opinions.assign(text=opinions["text"].str.title() + "  ")])
    splits = split(twice, split="hash")
    texts = [{text.strip().lower() for text in part.texts} for part in splits.examples.values()]
    assert sum(map(len, texts)) == 60
