"""Several adapters on one base: switched, weighed against each other, or one for each row of a batch."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfft.core.errors import ConfigError, name_list, unknown_name
from tfft.peft._combined_lora import combined_lora
from tfft.peft._junction import Junction, added_with_weight, chosen_by_row, handed_over
from tfft.peft._sites import Change, SiteAdapter
from tfft.peft.base import Adapter, Base, PeftConfig, methods
from tfft.peft.files import SavedAdapter, add_saved
from tfft.peft.options import parse_peft

#: What stands for the base alone among the numbers of adapters.
NO_ADAPTER = -1


class AdapterSet:
    """Adapters on one base, of one method or of several.

    Each sees the base's own outputs at a layer, whatever the others do there. Which are used is decided while a graph
    is traced; which of them a row has can be decided by a tensor, so that one graph serves any assignment.

    Only adapters in use are trained; a compiled model has to be compiled anew to train others.

    Example:
        >>> adapters = AdapterSet(base, models=[model])
        >>> adapters.add("tweets", "saved/tweets")
        >>> adapters.add("news", LoRAConfig(rank=4))
        >>> adapters.use("tweets")
        >>> with adapters.rows(["tweets", "news", None]):
        ...     outputs = model(three_rows)

    Attributes:
        base: The base.
    """

    def __init__(self, base: Base, *, models: Sequence[keras.Model] = ()) -> None:
        """Makes an empty set.

        Args:
            base: The base, whose weights are not trained (`tfft.peft.base.freeze_base` sees to that).
            models: Models that the base is part of: `predict`, `evaluate` and `fit` of these are traced anew after each
                switch. Graphs of others stay as they were traced.
        """
        self.base = base
        self._models = (base.model, *models)
        self._members: dict[str, SiteAdapter] = {}
        self._trained: dict[str, list[keras.Variable]] = {}
        self._numbers: dict[str, int] = {}
        self._next_number = 0
        self._junctions: dict[tuple[int, bool], Junction] = {}
        self._used: dict[str, float] = {}
        self._local = threading.local()

    def add(
        self,
        name: str,
        source: str | Path | Mapping[str, Any] | PeftConfig | SavedAdapter | Adapter,
        *,
        seed: int = 0,
    ) -> Adapter:
        """Adds an adapter, which is not used yet.

        Args:
            name: Its name in the set.
            source: A method's name or options for a new one; a directory that `tfft.peft.files.save_adapter` wrote, or
                what it holds; or an adapter that is on the base already.
            seed: Decides initialisation and dropout.

        Returns:
            The adapter.

        Raises:
            ArtifactError: When a saved adapter belongs to another base.
            ConfigError: When the name is taken, or adapters of the method cannot share a base.
        """
        self._check_name(name)
        adapter = self._made(name, source, seed)
        try:
            member, handed = handed_over(adapter)
        except ConfigError:
            if adapter is not source:
                adapter.remove()
            raise
        self._members[name] = member
        self._trained[name] = member.trainable_variables
        self._numbers[name], self._next_number = self._next_number, self._next_number + 1
        for layer, change, inputs in handed:
            place = (id(layer), inputs)
            if place not in self._junctions:
                self._junctions[place] = Junction(layer, self._combined, inputs=inputs)
            self._junctions[place].changes.setdefault(name, []).append(change)
        self._changed()
        return adapter

    def remove(self, name: str) -> None:
        """Takes an adapter off the base; one in use is used no longer.

        Args:
            name: Its name.

        Raises:
            ConfigError: When there is none of the name.
        """
        adapter = self[name]
        for place, junction in list(self._junctions.items()):
            junction.changes.pop(name, None)
            if not junction.changes:
                junction.close()
                del self._junctions[place]
        adapter.remove()
        for trained in self._trained.pop(name):
            trained.trainable = True
        del self._members[name], self._numbers[name]
        self._used.pop(name, None)
        self._changed()

    def use(self, chosen: str | Mapping[str, float] | None) -> None:
        """Chooses what the base computes with, in graphs traced from now on.

        Args:
            chosen: A name; or names with weights `w`, for `y + sum(w_i (y_i - y))` at each layer, where `y` are the
                base's outputs and `y_i` those with one adapter (for LoRA that is the weighted sum of the products);
                or None for the base alone.

        Raises:
            ConfigError: When a name is unknown, a weight is not finite, or one adapter changes the inputs and another
                the outputs of a layer.
        """
        weights = {} if chosen is None else {chosen: 1.0} if isinstance(chosen, str) else dict(chosen)
        for name, weight in weights.items():
            self._check_known(name)
            if not math.isfinite(weight):
                raise ConfigError(f"The weight of the adapter {name!r} is {weight}; give a finite number.")
        self._check_separable(weights)
        self._used = {name: float(weight) for name, weight in weights.items()}
        self._changed()

    def _check_separable(self, weights: Mapping[str, float]) -> None:
        # The layer is linear, so that inputs can be weighed like outputs; what others make of its outputs may not be.
        for (place, inputs), junction in self._junctions.items():
            if not inputs or (place, False) not in self._junctions:
                continue
            before, after = (
                weights.keys() & changes.keys() for changes in (junction.changes, self._junctions[place, False].changes)
            )
            if before and after and (len(before | after) > 1 or weights[next(iter(before))] != 1.0):
                raise ConfigError(
                    f"{name_list(sorted(before | after))} change inputs and outputs of the layer "
                    f"{junction.layer.path!r}: they cannot be weighed against each other there. Use one at a time, or "
                    "one for each row."
                )

    @property
    def used(self) -> dict[str, float]:
        """Weights of the adapters in use; empty when the base computes alone."""
        return dict(self._used)

    @contextlib.contextmanager
    def disabled(self) -> Iterator[None]:
        """Lets the base compute alone inside the block.

        Yields:
            Nothing.
        """
        before = self._used
        self.use(None)
        for name in before:
            self._set_trained(name, trained=True)
        try:
            yield
        finally:
            self.use({name: weight for name, weight in before.items() if name in self._members})

    @contextlib.contextmanager
    def rows(self, rows: Sequence[str | None] | Any) -> Iterator[None]:
        """Gives each row of the batches computed inside the block an adapter of its own, whatever is in use.

        A row's outputs are those that its adapter alone gives. The base must compute rows independently of each other,
        as all do in inference. Every adapter of the set is computed for every row.

        Args:
            rows: For each row a name, or None for the base alone; or an int32 tensor of shape `(batch,)` with what
                `numbers` returns, so that a graph traced inside the block serves any assignment.

        Yields:
            Nothing.

        Raises:
            ConfigError: When a name is unknown.
        """
        known = [NO_ADAPTER, *self._numbers.values()]
        if isinstance(rows, tf.Tensor | tf.Variable | np.ndarray):
            rows = tf.cast(tf.convert_to_tensor(rows), tf.int32)
            is_known = tf.reduce_any(tf.equal(rows[:, None], tf.constant(known, tf.int32)), axis=1)
            said = "These numbers are not all those of adapters in this set."
            # Of the checked tensor, so that the check is part of what is computed with it.
            with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(is_known), [said, rows])]):
                rows = tf.identity(rows)
        else:
            rows = tf.constant(self.numbers(rows))
        before = getattr(self._local, "rows", None)
        self._local.rows = rows
        try:
            yield
        finally:
            self._local.rows = before

    def numbers(self, names: Sequence[str | None]) -> np.ndarray:
        """Returns what stands for adapters in the tensor that `rows` takes.

        Args:
            names: For each row a name, or None for the base alone.

        Returns:
            Numbers, int32 of shape `(batch,)`; that of an adapter never changes, and is not used again after it.

        Raises:
            ConfigError: When a name is unknown.
        """
        for name in names:
            if name is not None:
                self._check_known(name)
        return np.array([NO_ADAPTER if name is None else self._numbers[name] for name in names], np.int32)

    def by_row(self, model: keras.Model, *, jit_compile: bool = False) -> Callable[[Any, Sequence[str | None]], Any]:
        """Returns a compiled forward pass in which each row names its adapter.

        Args:
            model: The base's model, or one that the base is part of.
            jit_compile: Whether XLA compiles it.

        Returns:
            From inputs and a name (or None) for each row to outputs, without dropout. It is traced once for each shape,
            whatever the names, and anew after adapters were added or removed.
        """
        traced: dict[tuple[Any, ...], Any] = {}

        def forward(inputs: Any, names: Sequence[str | None]) -> Any:
            batch = {int(np.shape(item)[0]) for item in keras.tree.flatten(inputs)}
            if batch != {len(names)}:
                raise ConfigError(
                    f"{len(names)} names were given for {' or '.join(map(str, sorted(batch)))} rows; "
                    "give one for each row, None for the base alone."
                )
            members = tuple((self._numbers[name], item.merged, item.enabled) for name, item in self._members.items())
            if members not in traced:
                traced.clear()
                traced[members] = tf.function(self._forward(model), jit_compile=jit_compile)
            return traced[members](keras.tree.map_structure(tf.convert_to_tensor, inputs), self.numbers(names))

        return forward

    def _forward(self, model: keras.Model) -> Callable[[Any, Any], Any]:
        def forward(inputs: Any, rows: Any) -> Any:
            with self.rows(rows):
                return model(inputs, training=False)

        return forward

    def combine_lora(self, name: str, weights: Mapping[str, float]) -> Adapter:
        """Adds one LoRA that computes what a weighted combination of several does, and can be merged or saved.

        The ranks are concatenated, `sum(w_i s_i A_i B_i) = [A_1 ... A_n] [w_1 s_1 B_1; ...; w_n s_n B_n]`, so it is
        exact up to rounding.

        Args:
            name: Name of the new adapter.
            weights: Weights of adapters of the set, all of the method "lora".

        Returns:
            The new adapter, which is not used yet.

        Raises:
            ConfigError: When a name is unknown, or an adapter is of another method.
        """
        self._check_name(name)
        for other in weights:
            self._check_known(other)
        config, state = combined_lora({other: (self._members[other], weight) for other, weight in weights.items()})
        adapter = self.add(name, config)
        try:
            adapter.load_state(adapter.state() | state)
        except BaseException:
            self.remove(name)
            raise
        return adapter

    def __getitem__(self, name: str) -> Adapter:
        """Returns the adapter of a name."""
        self._check_known(name)
        return self._members[name]

    def __contains__(self, name: object) -> bool:
        """Tells whether an adapter has the name."""
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        """Iterates over the names, in the order of addition."""
        return iter(self._members)

    def __len__(self) -> int:
        """Returns the number of adapters."""
        return len(self._members)

    def _made(self, name: str, source: Any, seed: int) -> Adapter:
        if isinstance(source, Adapter):
            if source.base.model is not self.base.model:
                raise ConfigError(f"The adapter {name!r} is on another base; save it, and add its directory.")
            if any(source is member for member in self._members.values()):
                raise ConfigError(f"The adapter {name!r} is in the set already, under another name.")
            if source.merged:
                raise ConfigError(f"The adapter {name!r} is merged into the base, which all share; unmerge it first.")
            return source
        if isinstance(source, str) and source not in methods and Path(source).exists():
            source = Path(source)
        if isinstance(source, SavedAdapter | Path):
            return add_saved(self.base, source, name=name, seed=seed)
        config = parse_peft(source)
        return methods.get(config.method).add(self.base, config, name=name, seed=seed)

    def _check_name(self, name: str) -> None:
        if not name or "/" in name:
            raise ConfigError(f"An adapter cannot be named {name!r}: names are not empty and hold no '/'.")
        if name in self._members:
            raise ConfigError(f"There is an adapter {name!r} already; remove it, or choose another name.")

    def _check_known(self, name: str) -> None:
        if name not in self._members:
            raise ConfigError(unknown_name("adapter", name, list(self._members)))

    def _changed(self) -> None:
        for name in self._members:
            self._set_trained(name, trained=name in self._used)
        for model in self._models:
            # What Keras keeps between calls of predict, evaluate and fit.
            model.predict_function = model.test_function = model.train_function = None

    def _set_trained(self, name: str, *, trained: bool) -> None:
        for variable in self._trained[name]:
            variable.trainable = trained

    def _combined(self, changes: Mapping[str, Sequence[Change]], outputs: Any, *args: Any, **kwargs: Any) -> Any:
        rows = getattr(self._local, "rows", None)
        self._check_merged(alone=rows is None and len(self._used) <= 1)

        def of(name: str) -> Any:
            changed = outputs
            for change in changes[name]:
                changed = change(changed, *args, **kwargs)
            return changed

        result = outputs
        if rows is not None:
            for name in changes:
                result = keras.tree.map_structure(chosen_by_row(rows, self._numbers[name]), of(name), result)
            return result
        used = {name: weight for name, weight in self._used.items() if name in changes and weight != 0.0}
        if len(self._used) == 1 and set(used.values()) == {1.0}:
            return of(next(iter(used)))
        for name, weight in used.items():
            result = keras.tree.map_structure(added_with_weight(weight), of(name), outputs, result)
        return result

    def _check_merged(self, *, alone: bool) -> None:
        merged = [name for name, adapter in self._members.items() if adapter.merged]
        if merged and not (alone and self._used == {merged[0]: 1.0} and len(merged) == 1):
            raise ConfigError(
                f"{name_list(merged)} is merged into the base, which all adapters share; unmerge it to use others, "
                "or the base alone."
            )
