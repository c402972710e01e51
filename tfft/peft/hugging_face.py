"""LoRA adapters in the files of Hugging Face PEFT: read onto a base of the same architecture, and written.

Layers of KerasHub's BERT, RoBERTa, DistilBERT and Llama families hold the weights of Hugging Face's models transposed
and reshaped, in the same order (the rotary layout of Llama's queries and keys too): matrices are only transposed.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from keras import ops

from tfft.core.errors import ArtifactError, ConfigError, name_list
from tfft.core.files import atomic_directory
from tfft.peft._bias import BiasSide
from tfft.peft._hugging_face_layouts import Layout, layout_of
from tfft.peft._linear import linear
from tfft.peft._surgery import all_layers, layer_paths
from tfft.peft._targets import ROLES, Roles, bias_of, find_linear
from tfft.peft._unmerged import unmerged
from tfft.peft.base import Adapter, Base, methods
from tfft.peft.lora import LoRAConfig, LoRASide

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PICKLED = "adapter_model.bin"
_BEGINNING = "base_model.model."
_KEY = re.compile(
    rf"{re.escape(_BEGINNING)}(?P<module>.+?)\."
    r"(?:lora_(?P<half>[AB])\.weight|lora_embedding_(?P<table>[AB])|(?:base_layer\.)?(?P<own>bias|weight))"
)
_BIASES = {"none": "none", "lora_only": "targets", "all": "all"}
#: Options that are read, or that say nothing about what the saved weights compute.
_READ = frozenset(
    {"peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "bias", "rank_pattern", "alpha_pattern"}
    | {"auto_mapping", "base_model_name_or_path", "revision", "task_type", "inference_mode", "peft_version"}
    | {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "init_lora_weights"}
    # Said with options that are refused when they are on.
    | {"megatron_core", "qalora_group_size", "loftq_config", "eva_config", "corda_config", "ensure_weight_tying"}
)
#: Initialisations that leave the base's weights as they are.
_INITIALISATIONS = (True, False, None, "gaussian", "eva", "orthogonal", "true", "false")


@dataclasses.dataclass
class _Module:
    down: np.ndarray | None = None
    up: np.ndarray | None = None
    bias: np.ndarray | None = None
    weight: np.ndarray | None = None


def add_hugging_face(base: Base, directory: str | Path, *, name: str = "default", seed: int = 0) -> Adapter:
    """Adds a LoRA adapter that Hugging Face PEFT saved.

    Args:
        base: A base with the weights of the model that it was trained on, which are not trained (`freeze_base`).
        directory: What `PeftModel.save_pretrained` wrote, with safetensors.
        name: Name of the adapter among others on the same base.
        seed: Decides dropout, when it is trained further.

    Returns:
        The adapter, which computes what Hugging Face's does.

    Raises:
        ArtifactError: When the files are not whole, or do not fit the base.
        ConfigError: When they hold what tfft cannot represent, or the base's architecture is not among those known.
    """
    directory = Path(directory)
    described = _read_config(directory)
    layers = _by_path(base)
    layout = layout_of(layers, base.model.name)
    modules = _read_modules(directory)
    paths = {module: _path_of(directory, module, layout, layers) for module in modules}
    adapted = {module: found for module, found in modules.items() if found.down is not None}
    if not adapted:
        raise ArtifactError(f"{directory / WEIGHTS} holds no LoRA matrices.")
    config = _config_of(described, adapted, base, [layers[paths[module]] for module in adapted])
    state: dict[str, np.ndarray] = {}
    for module, found in adapted.items():
        factor = _scaling(described, module, len(_whole(found.down))) / config.scaling
        state[f"{paths[module]}/lora_a"] = _padded(_whole(found.down).T, config.rank, 1)
        state[f"{paths[module]}/lora_b"] = _padded(_whole(found.up).T * np.float32(factor), config.rank, 0)
    for module, found in modules.items():
        if found.weight is not None:
            _check_same(directory, module, layers[paths[module]], found.weight)
        if found.bias is not None:
            change = _bias_change(directory, module, layers[paths[module]], found.bias)
            state[f"{paths[module]}/bias_change"] = change
    adapter = methods.get(LoRAConfig.method).add(base, config, name=name, seed=seed)
    try:
        adapter.load_state(state)
    except ConfigError as error:
        adapter.remove()
        raise ArtifactError(
            f"{directory} does not fit the base {base.model.name!r}: {error} It may be of another size, or lack biases "
            "that were trained, as files of early versions of PEFT do."
        ) from error
    return adapter


def export_hugging_face(
    directory: str | Path,
    adapter: Adapter,
    *,
    prefix: str = "",
    base_name: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes a LoRA adapter as Hugging Face PEFT does, for `PeftModel.from_pretrained`.

    Args:
        directory: A directory that does not exist yet, or is empty; it appears whole or not at all.
        adapter: An adapter of the method "lora" on a BERT, RoBERTa, DistilBERT or Llama type of base.
        prefix: What the base is called inside the Hugging Face model: nothing for `BertModel`, "bert" for
            `BertForSequenceClassification`, "model" for `LlamaForCausalLM`.
        base_name: Name or directory of the Hugging Face model, noted in the file.
        overwrite: Whether an earlier directory there may be replaced.

    Returns:
        The directory.

    Raises:
        ArtifactError: When it cannot be written.
        ConfigError: When the adapter is of another method, or acts on a layer without a counterpart there.
    """
    directory = Path(directory)
    config = adapter.config
    if not isinstance(config, LoRAConfig) or config.method != LoRAConfig.method:
        raise ConfigError(
            f"Adapters of the method {config.method!r} cannot be written for Hugging Face PEFT, only those of "
            f"{LoRAConfig.method!r}. Save it as files of tfft instead (save_adapter)."
        )
    layers = _by_path(adapter.base)
    paths = {id(layer): path for path, layer in layers.items()}
    layout = layout_of(layers, adapter.base.model.name)
    arrays: dict[str, np.ndarray] = {}
    targets: list[str] = []
    with unmerged(adapter):
        sides: list[tuple[Any, Any]] = adapter.sides  # type: ignore[attr-defined]
        adapted = {id(layer) for layer, side in sides if isinstance(side, LoRASide)}
        for layer, side in sides:
            module = layout.module_of(paths[id(layer)])
            if module is None or not isinstance(side, LoRASide | BiasSide):
                raise ConfigError(
                    f"The layer {layer.path!r} has no counterpart in Hugging Face models of the {layout.family} family "
                    "that this adapter could act on there. Leave it out of target_layers, or use save_adapter."
                )
            module = f"{prefix}.{module}" if prefix else module
            start = f"{_BEGINNING}{module}."
            if isinstance(side, LoRASide):
                targets.append(module)
                arrays |= _halves(start, side)
            else:
                (_, bias), *_ = side.merged_weights()
                key = f"{start}{'base_layer.' if id(layer) in adapted else ''}bias"
                arrays[key] = _array(ops.reshape(bias, (-1,)))
    described = {
        "peft_type": "LORA",
        "base_model_name_or_path": base_name,
        "task_type": None,
        "inference_mode": True,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "use_rslora": config.rank_stabilized,
        "bias": next(other for other, own in _BIASES.items() if own == config.bias),
        "target_modules": sorted(targets),
        "fan_in_fan_out": False,
        "modules_to_save": None,
    }
    with atomic_directory(directory, overwrite=overwrite) as folder:
        (folder / WEIGHTS).write_bytes(safetensors.numpy.save(arrays, metadata={"format": "pt"}))
        (folder / CONFIG).write_text(json.dumps(described, indent=2) + "\n", "utf-8")
    return directory


def _halves(start: str, side: LoRASide) -> dict[str, np.ndarray]:
    names = ("lora_embedding_A", "lora_embedding_B") if side.view.is_table else ("lora_A.weight", "lora_B.weight")
    halves = (ops.transpose(side.lora_a.value), ops.transpose(side.lora_b.value))
    return {f"{start}{name}": _array(half) for name, half in zip(names, halves, strict=True)}


def _array(value: Any) -> np.ndarray:
    # In C order: the library writes the memory of an array as it lies.
    return np.array(ops.convert_to_numpy(ops.cast(value, "float32")), order="C")


def _read_config(directory: Path) -> dict[str, Any]:
    path = directory / CONFIG
    if not path.is_file():
        raise ArtifactError(f"{directory} holds no adapter of Hugging Face PEFT: it has no {CONFIG}.")
    try:
        described: dict[str, Any] = json.loads(path.read_text("utf-8"))
        kind = described["peft_type"]
    except (ValueError, KeyError, TypeError):
        raise ArtifactError(f"{path} is damaged; it is not what Hugging Face PEFT wrote.") from None
    if kind != "LORA":
        raise ConfigError(f"{path} is of the method {kind}; only LORA can be read.")
    extra = [name for name, value in described.items() if name not in _READ and value]
    if described.get("init_lora_weights", True) not in _INITIALISATIONS:
        extra.append("init_lora_weights")
    if extra:
        shown = name_list([f"{name}={described[name]!r}" for name in sorted(extra)])
        raise ConfigError(
            f"{path} has options that an adapter of tfft cannot represent: {shown}. Save it from PEFT without them, or "
            "merge it into the model there (merge_and_unload) and load that as a preset."
        )
    if described.get("bias", "none") not in _BIASES:
        raise ConfigError(f"{path}: bias={described['bias']!r} is none of {', '.join(_BIASES)}.")
    return described


def _read_modules(directory: Path) -> dict[str, _Module]:
    path = directory / WEIGHTS
    if not path.is_file():
        advice = " Save it again with safe_serialization=True: pickled files can run code, so they are not read."
        raise ArtifactError(f"{path} is missing.{advice if (directory / _PICKLED).is_file() else ''}")
    modules: dict[str, _Module] = {}
    unknown = []
    for key, value in _read_arrays(path).items():
        match = _KEY.fullmatch(key)
        if match is None:
            unknown.append(key)
            continue
        module = modules.setdefault(match["module"], _Module())
        half = match["half"] or match["table"]
        setattr(module, match["own"] or {"A": "down", "B": "up"}[half], value)
    if unknown:
        raise ConfigError(
            f"{path} holds weights that an adapter of tfft cannot represent: {name_list(sorted(unknown))}. Heads and "
            "other modules_to_save are not part of a base; save the adapter without them."
        )
    halves = [name for name, module in modules.items() if (module.down is None) != (module.up is None)]
    if halves:
        raise ArtifactError(f"{path} holds one matrix of two for {name_list(halves)}; it is not whole.")
    return modules


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with safetensors.safe_open(str(path), framework="tf") as file:
            return {key: _array(file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118 -- not a mapping
    except (safetensors.SafetensorError, OSError) as error:
        raise ArtifactError(f"{path} is not a whole safetensors file: {error}.") from error


def _path_of(directory: Path, module: str, layout: Layout, layers: Mapping[str, Any]) -> str:
    path = layout.path_of(module)
    if path is None or path not in layers:
        raise ConfigError(
            f"{directory} acts on {module!r}, which is no layer of this base of the {layout.family} family. Load the "
            "base that the adapter was trained on, or save the adapter from PEFT without that module."
        )
    return path


def _config_of(
    described: Mapping[str, Any], adapted: Mapping[str, _Module], base: Base, layers: list[Any]
) -> LoRAConfig:
    odd = [layer.path for layer in layers if linear(layer) is None]
    if odd:
        raise ConfigError(f"LoRA cannot act on {name_list(odd)}: the layer has no kernel.")
    return LoRAConfig(
        rank=max(len(_whole(found.down)) for found in adapted.values()),
        alpha=float(described["lora_alpha"]),
        rank_stabilized=bool(described.get("use_rslora", False)),
        dropout=float(described.get("lora_dropout", 0.0)),
        target_layers=_targets_of(base, layers),
        bias=_BIASES[described.get("bias", "none")],  # type: ignore[arg-type]
    )


def _targets_of(base: Base, layers: list[Any]) -> tuple[str, ...]:
    """Returns roles where they mean exactly these layers, otherwise their paths."""
    known = Roles(base)
    roles = {known.role(layer) for layer in layers}
    if None not in roles:
        named = tuple(role for role in ROLES if role in roles)
        if {id(view.layer) for view in find_linear(base, named)} == {id(layer) for layer in layers}:
            return named
    return tuple(re.escape(layer.path) for layer in layers)


def _scaling(described: Mapping[str, Any], module: str, rank: int) -> float:
    """Returns the factor of a module's product: PEFT lets patterns of names choose rank and alpha."""
    patterns: Mapping[str, float] = described.get("alpha_pattern") or {}
    chosen = (alpha for pattern, alpha in patterns.items() if re.match(rf"(.*\.)?({pattern})$", module))
    alpha = float(next(chosen, described["lora_alpha"]))
    return alpha / (rank**0.5 if described.get("use_rslora", False) else rank)


def _padded(matrix: np.ndarray, rank: int, axis: int) -> np.ndarray:
    """Fills a matrix up with zeros, which change no product, to a rank."""
    widths = [(0, 0), (0, 0)]
    widths[axis] = (0, rank - matrix.shape[axis])
    return np.pad(matrix, widths)


def _check_same(directory: Path, module: str, layer: Any, weight: np.ndarray) -> None:
    """Lets weights pass that PEFT saves of the base: it does so with embeddings, whether they were changed or not."""
    view = linear(layer)
    own = None if view is None else _array(view.kernel.value)
    if own is None or own.shape != weight.shape or not np.allclose(own, weight, rtol=1e-5, atol=1e-6):
        raise ConfigError(
            f"{directory} holds weights of {module!r} itself that are not the base's, for instance of a vocabulary "
            "that was enlarged. An adapter cannot replace them: merge it into the model in PEFT (merge_and_unload) and "
            "load that as a preset, or load the base that it was trained on."
        )


def _bias_change(directory: Path, module: str, layer: Any, value: np.ndarray) -> np.ndarray:
    bias = bias_of(layer)
    if bias is None or np.prod(bias.shape) != value.size:
        raise ArtifactError(
            f"{directory} has a bias of {value.size:,} numbers for {module!r}, where the base has "
            f"{'none' if bias is None else f'{int(np.prod(bias.shape)):,}'}; load the base that it was trained on."
        )
    change: np.ndarray = value.reshape(bias.shape) - _array(bias.value)
    return change


def _by_path(base: Base) -> dict[str, Any]:
    paths = layer_paths(base.model)
    return {paths[id(layer)]: layer for layer in all_layers(base.model)}


def _whole(matrix: np.ndarray | None) -> np.ndarray:
    if matrix is None:  # _read_modules refuses such a file
        raise ArtifactError("A module of the adapter has one matrix of two.")
    return matrix
