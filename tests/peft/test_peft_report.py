"""The report: counted by hand, and the size of the file that is really written."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from tiny_bases import HIDDEN, tiny
from tiny_training import CLASSES, added, with_head

from tfft.console import as_text
from tfft.peft.base import methods
from tfft.peft.files import save_adapter
from tfft.peft.lora import LoRAConfig
from tfft.peft.report import peft_report

HEAD = HIDDEN * CLASSES + CLASSES


def test_numbers_are_those_counted_by_hand(tmp_path: Path) -> None:
    base = tiny("bert", dropout=0.1)
    own = sum(value.size for value in base.weights())
    rank = 2
    adapter = added(base, "lora", LoRAConfig(rank=rank, bias="targets", dropout=0.1))
    model = with_head(base)
    report = peft_report(model, adapter)
    # Two layers with two targets each: two matrices and a bias.
    each = HIDDEN * rank + rank * HIDDEN + HIDDEN
    assert report.method == "lora"
    assert report.trainable_of_adapter == 4 * each
    assert report.trainable == 4 * each + HEAD
    assert report.total == own + 4 * each + HEAD
    assert report.share == pytest.approx(report.trainable / report.total)
    assert report.gradient_bytes == 4 * report.trainable
    assert report.optimizer_bytes == 2 * report.gradient_bytes
    assert peft_report(model, adapter, optimizer_slots=0).optimizer_bytes == 0
    save_adapter(tmp_path / "a", adapter)
    assert report.adapter_bytes == (tmp_path / "a" / "adapter.safetensors").stat().st_size
    rows = {row.path: row for row in report.layers}
    assert rows["transformer_layer_1/self_attention_layer/query"].trainable == each
    assert (rows["head"].part, rows["head"].trainable) == ("model", HEAD)
    assert len(rows) == 5
    assert sum(row.trainable for row in report.layers) == report.trainable


@pytest.mark.parametrize("method", methods.names())
def test_every_method_is_counted(method: str) -> None:
    base = tiny("bert")
    adapter = added(base, method)
    model = base.base.model
    report = peft_report(model, adapter)
    trained = {id(item): int(np.prod(item.shape)) for item in (*model.trainable_weights, *adapter.trainable_variables)}
    assert report.trainable == report.trainable_of_adapter == sum(trained.values())
    assert report.gradient_bytes == 4 * report.trainable
    assert 0.0 <= report.share <= 1.0
    assert (report.share == 1.0) == (method == "full")


def test_bytes_follow_the_type_of_the_weights() -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3, dtype="bfloat16")(inputs))
    base = dataclasses.replace(tiny("le_net").base, model=model)
    adapter = methods.get("full").add(base, methods.get("full").config_class(), name="default", seed=0)
    assert peft_report(model, adapter).gradient_bytes == 2 * (4 * 3 + 3)


def test_tables_and_plain_data_say_the_same() -> None:
    base = tiny("bert")
    report = peft_report(with_head(base), added(base, "lora", LoRAConfig(rank=2)))
    text = str(report)
    assert f"{report.trainable:,} of {report.total:,} ({report.share:.3%})" in text
    assert "transformer_layer_1" not in text
    layers = as_text(report.renderables(per_layer=True))
    assert "transformer_layer_1/self_attention_layer/value" in layers
    assert "head" in layers
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["trainable"] == report.trainable
    assert plain["share"] == report.share
    assert [row["path"] for row in plain["layers"]] == [row.path for row in report.layers]
