"""Adapter files: whole, small, for one base only, and the same numbers to the bit in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import safetensors
from tiny_bases import Tiny, tiny
from tiny_training import added, shaken

from tfft.core.errors import ArtifactError
from tfft.peft._fingerprint import fingerprint
from tfft.peft.base import Adapter, Base, freeze_base, methods
from tfft.peft.files import SavedHead, add_saved, read_adapter, save_adapter, weights_size
from tfft.peft.lora import LoRAConfig

PATIENCE = 300


def with_lora(base: Tiny, **options: Any) -> Adapter:
    config = LoRAConfig(**{"rank": 2, "bias": "all", **options})
    return shaken(added(base, "lora", config))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_adapter(tmp_path / "adapter", with_lora(tiny("bert")), base_name="tiny", labels=["no", "yes"])


def test_every_method_predicts_the_same_to_the_bit_in_another_process(tmp_path: Path) -> None:
    outputs = {}
    for name in methods.names():
        base = tiny("bert")
        adapter = shaken(added(base, name))
        save_adapter(tmp_path / name, adapter)
        outputs[name] = base()
        assert (tmp_path / name / "adapter.safetensors").stat().st_size == weights_size(adapter)
    script = Path(__file__).with_name("run_saved_adapters.py")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, timeout=PATIENCE, env=environment)
    with np.load(tmp_path / "outputs.npz") as found:
        assert set(found) == set(outputs)
        for name, value in outputs.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert not np.array_equal(outputs["lora"], tiny("bert")())


def test_head_and_labels_are_kept(tmp_path: Path) -> None:
    kernel = np.arange(6.0, dtype=np.float32).reshape(3, 2).T  # not in C order
    head = SavedHead({"name": "classifier", "units": 2}, {"dense/kernel": kernel, "step": np.array(7, np.int64)})
    path = save_adapter(tmp_path / "a", with_lora(tiny("bert")), head=head, labels=["no", "yes"])
    found = read_adapter(path)
    assert found.head is not None
    assert found.head.options == head.options
    assert found.labels == ("no", "yes")
    for name, value in head.weights.items():
        np.testing.assert_array_equal(found.head.weights[name], value)
        assert found.head.weights[name].shape == value.shape
    assert found.config == LoRAConfig(rank=2, bias="all")
    assert all(not name.startswith("head") for name in found.weights)


def test_files_hold_no_weights_of_the_base(saved: Path) -> None:
    with safetensors.safe_open(str(saved / "adapter.safetensors"), framework="numpy") as file:
        names = sorted(file.keys())
    assert all(name.rsplit("/", 1)[1] in ("lora_a", "lora_b", "bias_change") for name in names)
    base = sum(value.nbytes for value in tiny("bert").weights())
    assert (saved / "adapter.safetensors").stat().st_size < base


def test_a_merged_adapter_is_saved_as_it_was_before(tmp_path: Path) -> None:
    base = tiny("bert")
    adapter = with_lora(base)
    save_adapter(tmp_path / "before", adapter)
    adapter.merge()
    merged = base.weights()
    save_adapter(tmp_path / "merged", adapter)
    for now, then in zip(base.weights(), merged, strict=True):
        np.testing.assert_array_equal(now, then)
    for name in ("adapter.json", "adapter.safetensors"):
        assert (tmp_path / "before" / name).read_bytes() == (tmp_path / "merged" / name).read_bytes()


def test_another_base_is_refused_and_left_as_it_was(saved: Path) -> None:
    base = tiny("bert")
    weight = next(variable for variable in base.base.model.weights if variable.path.endswith("key/kernel"))
    value = weight.numpy()
    value.flat[5] = np.nextafter(value.flat[5], 1.0)
    weight.assign(value)
    before, outputs = len(base.base.model.variables), base()
    with pytest.raises(ArtifactError, match=r"another base: .*bert_backbone.* \(tiny\), and this is bert_backbone"):
        add_saved(base.base, saved)
    assert len(base.base.model.variables) == before
    np.testing.assert_array_equal(base(), outputs)


@pytest.mark.parametrize("architecture", ["roberta", "llama", "le_net"])
def test_another_architecture_is_refused(saved: Path, architecture: str) -> None:
    with pytest.raises(ArtifactError, match="another base"):
        add_saved(tiny(architecture).base, saved)


def unnamed(epsilon: float = 1e-3) -> keras.Model:
    """A model whose layers Keras names by counting those of the process."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.LayerNormalization(epsilon=epsilon)(keras.layers.Dense(3)(inputs)))


def test_a_fingerprint_is_that_of_the_base_alone() -> None:
    first = unnamed()
    second = unnamed()
    assert [layer.name for layer in first.layers] != [layer.name for layer in second.layers]
    assert first.name != second.name
    known = fingerprint(first)
    assert (known.architecture, known.weights) == (fingerprint(second).architecture, fingerprint(second).weights)
    assert known.parameters == 4 * 3 + 3 + 3 + 3
    freeze_base(first)
    config = LoRAConfig(rank=2, target_layers="all-linear", dropout=0.5)
    shaken(methods.get("lora").add(Base(first), config, name="default", seed=0))
    assert fingerprint(first) == known
    # The same weights in another architecture.
    assert fingerprint(unnamed(epsilon=1e-5)).architecture != known.architecture
    assert fingerprint(unnamed(epsilon=1e-5)).weights == known.weights


def test_an_adapter_fits_a_base_whose_layers_are_counted_otherwise(tmp_path: Path) -> None:
    first, second = unnamed(), unnamed()
    values = np.random.default_rng(0).normal(size=(2, 4))
    for model in (first, second):
        freeze_base(model)
    config = LoRAConfig(rank=2, target_layers="all-linear")
    adapter = shaken(methods.get("lora").add(Base(first), config, name="default", seed=0))
    add_saved(Base(second), save_adapter(tmp_path / "a", adapter))
    np.testing.assert_array_equal(first(values), second(values))


def test_a_quantized_base_is_another_one(tmp_path: Path) -> None:
    first, second = unnamed(), unnamed()
    freeze_base(first)
    config = LoRAConfig(rank=2, target_layers="all-linear")
    path = save_adapter(tmp_path / "a", methods.get("lora").add(Base(first), config, name="default", seed=0))
    second.layers[1].quantize("int8")
    with pytest.raises(ArtifactError, match="quantization"):
        add_saved(Base(second), path)


def altered(path: Path, change: Any, *, digest: bool = True) -> None:
    """Changes the JSON; with a fitting digest, as another program might write it."""
    import hashlib

    content = json.loads(path.read_text())
    change(content)
    if digest:
        content.pop("sha256")
        content["sha256"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "digest", "says"),
    [
        (lambda content: content["options"].update(rank=3), False, "altered"),
        (lambda content: content.update(format=99), True, "later version of tfft .format 99.*upgrade"),
        (lambda content: content.update(method="lore"), True, "Did you mean 'lora'.*upgrade"),
        (lambda content: content["options"].update(twist=1), True, "twist.*upgrade"),
        (lambda content: content["options"].update(rank=3), True, "does not hold the adapter that it describes"),
        (lambda content: content.pop("base"), True, "damaged"),
        (lambda content: content.pop("sha256"), False, "damaged"),
    ],
    ids=["altered", "format", "method", "option", "rank", "base", "digest"],
)
def test_a_description_that_is_not_as_written_is_refused(saved: Path, change: Any, digest: bool, says: str) -> None:
    altered(saved / "adapter.json", change, digest=digest)
    base = tiny("bert")
    with pytest.raises(ArtifactError, match=says):
        add_saved(base.base, saved)
    assert not [variable for variable in base.base.model.variables if "lora" in variable.path]


def test_weights_that_are_not_as_written_are_refused(saved: Path) -> None:
    path = saved / "adapter.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(ArtifactError, match="truncated"):
        read_adapter(saved)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArtifactError, match="altered"):
        read_adapter(saved)
    path.unlink()
    with pytest.raises(ArtifactError, match="missing"):
        read_adapter(saved)
    with pytest.raises(ArtifactError, match="does not hold an adapter"):
        read_adapter(saved.parent / "nothing")


def test_an_earlier_adapter_is_replaced_only_when_asked(saved: Path) -> None:
    adapter = with_lora(tiny("bert"), rank=1)
    with pytest.raises(ArtifactError, match="overwrite"):
        save_adapter(saved, adapter)
    save_adapter(saved, adapter, overwrite=True)
    assert read_adapter(saved).config == adapter.config
    assert sorted(path.name for path in saved.parent.iterdir()) == ["adapter"]


def test_bfloat16_weights_come_back_to_the_bit(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3, dtype="bfloat16")(inputs))
    adapter = methods.get("full").add(Base(model), methods.get("full").config_class(), name="default", seed=0)
    saved = read_adapter(save_adapter(tmp_path / "a", adapter))
    assert (tmp_path / "a" / "adapter.safetensors").stat().st_size == weights_size(adapter)
    before = model(np.ones((1, 4), np.float32))
    for variable in adapter.trainable_variables:
        variable.assign(variable.value * 0)
    adapter.load_state(saved.weights)
    np.testing.assert_array_equal(model(np.ones((1, 4), np.float32)), before)
