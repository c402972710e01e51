"""TensorFlow Datasets by name: "tfds:name", "tfds:name/config", "tfds:name/config:split"."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from tfft.console import Console
from tfft.core.errors import DataError, name_list, nearest
from tfft.data.sources._components import components
from tfft.data.sources._tensors import Elements, class_names, said
from tfft.data.sources._tfds_files import PlainFeature, file_chunks, file_parts, plain_feature
from tfft.data.sources.base import Columns, ReadRequest, select_columns, sources

_PREFIX = "tfds:"
#: Name, configuration, version and split; a split may hold colons: "train[:10%]".
_HANDLE = re.compile(
    r"tfds:(?P<name>\w+)(/(?P<config>[^:/]+))?(:(?P<version>\d+\.(\d+|\*)\.(\d+|\*)))?(:(?P<split>.+))?"
)


class TfdsDataset:
    """Reads one split of a dataset, "train" unless named, and prepares it first where that was not done yet.

    Classes come by name (-1, no class, as null), pictures and sound as arrays, sequences as lists; a feature in a
    feature is "outer.inner". Rows come in the order in which they were written.
    """

    endings: ClassVar[tuple[str, ...]] = ()

    def accepts(self, source: Any) -> bool:
        """Accepts strings that begin with "tfds:"."""
        return isinstance(source, str) and source.startswith(_PREFIX)

    def chunks(self, request: ReadRequest) -> Iterator[Columns]:
        """Reads the split.

        Args:
            request: What to read.

        Yields:
            Chunks of rows.

        Raises:
            DataError: When there is no such dataset, configuration, version, split or column, or it cannot be prepared.
        """
        import tensorflow_datasets as tfds

        where = request.source
        builder, split = _builder(where)
        _prepare(builder, where, request.console)
        _check_split(builder, split, where)
        features = dict(_flatten(builder.info.features))
        wanted = request.columns
        if wanted is None:
            nested = [name for name, feature in features.items() if isinstance(feature.kind, tfds.features.Dataset)]
            wanted = [name for name in features if name not in nested]
            if nested:
                request.console.say(f"{where}: left out, because they hold datasets: {', '.join(nested)}.")
        select_columns(list(features), wanted, where)
        plain = {name: features[name].plain() for name in wanted}
        parts = file_parts(builder, split)
        if parts and None not in plain.values():
            yield from file_chunks(parts, {name: item for name, item in plain.items() if item}, where, request.console)
        else:
            chosen = {name: features[name] for name in wanted}
            yield from _elements(_dataset(builder, split, chosen.values(), where), chosen, where).chunks(
                request.console
            )


def _builder(where: str) -> tuple[Any, str]:
    """Returns the builder and the split."""
    import tensorflow_datasets as tfds

    match = _HANDLE.fullmatch(where)
    if match is None:
        raise DataError(
            f"{where!r} is not the name of a TensorFlow dataset. Write tfds:name, tfds:name/config or "
            "tfds:name/config:split, for instance tfds:imdb_reviews/plain_text:train[:10%]."
        )
    name, config = match["name"], match["config"]
    try:
        handle = "/".join(filter(None, (name, config))) + (f":{match['version']}" if match["version"] else "")
        return tfds.builder(handle), match["split"] or "train"
    except Exception as error:
        known = tfds.list_builders(with_community_datasets=False)
        if name not in known:
            raise DataError(
                f"There is no TensorFlow dataset {name!r}.{_hint(name, known)} "
                f"{len(known)} are known; tfds.list_builders() names them."
            ) from error
        configs = list(tfds.builder_cls(name).builder_configs)
        if config and config not in configs:
            listed = name_list(sorted(configs), most=12) or "none"
            raise DataError(
                f"The TensorFlow dataset {name!r} has no configuration {config!r}.{_hint(config, configs)} "
                f"Known: {listed}."
            ) from error
        raise DataError(f"{where} cannot be used: {said(error)}") from error


def _prepare(builder: Any, where: str, console: Console) -> None:
    import tensorflow_datasets as tfds

    with _less_talk():
        if builder.is_prepared():
            return
    console.say(f"{where} is not on this machine yet; downloading and preparing it in {builder.data_dir}.")
    bars = contextlib.ExitStack()
    if console.quiet:
        tfds.disable_progress_bar()
        bars.callback(tfds.enable_progress_bar)
    try:
        with bars:
            builder.download_and_prepare()
    except Exception as error:
        raise DataError(
            f"{where} is not prepared in {builder.data_dir}, and downloading and preparing it failed: {said(error)}. "
            "It needs the network; without one, run `tfds build` where there is one, copy the folder here and name its "
            "parent in the environment variable TFDS_DATA_DIR."
        ) from error


def _check_split(builder: Any, split: str, where: str) -> None:
    known = list(builder.info.splits)
    for part in split.split("+"):
        name = re.split(r"[\[(]", part.strip(), maxsplit=1)[0]
        if known and name not in {*known, "all"}:
            raise DataError(
                f"{where}: there is no split {name!r}.{_hint(name, known)} Its splits: {', '.join(known)}. "
                f"Name one at the end: {where.removesuffix(':' + split)}:{known[0]}."
            )


def _dataset(builder: Any, split: str, features: Iterable[_Feature], where: str) -> Any:
    """Returns the dataset of a split with some of its features; others are not decoded."""
    import tensorflow_datasets as tfds

    order = tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1)
    by_name = isinstance(builder.info.features, tfds.features.FeaturesDict)
    partial = tfds.decode.PartialDecoding({feature.path[0] for feature in features}) if by_name else None
    try:
        with _less_talk():
            return builder.as_dataset(split=split, shuffle_files=False, read_config=order, decoders=partial)
    except Exception as error:
        raise DataError(f"{where} cannot be read: {said(error)}") from error


def _elements(dataset: Any, features: Mapping[str, _Feature], where: str) -> Elements:
    import tensorflow_datasets as tfds

    parts = components(dataset.element_spec, None, where)
    names = {name: feature.class_names() for name, feature in features.items()}
    return Elements(
        dataset,
        {name: parts[name] for name in features},
        where,
        labels={name: known for name, known in names.items() if known},
        arrays={name for name, feature in features.items() if isinstance(feature.kind, tfds.features.Audio)},
    )


@contextlib.contextmanager
def _less_talk() -> Iterator[None]:
    """Keeps the library from warning of what it does itself: asking for its deprecated attributes."""
    from absl import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


class _Feature(NamedTuple):
    """A column: the names that lead to it, its own feature, and how many sequences are around that."""

    path: tuple[str, ...]
    kind: Any
    sequences: int

    def class_names(self) -> Mapping[str, str | None] | None:
        import tensorflow_datasets as tfds

        known = isinstance(self.kind, tfds.features.ClassLabel) and self.kind.num_classes is not None
        return class_names(self.kind.names) if known else None

    def plain(self) -> PlainFeature | None:
        return plain_feature(self.kind, self.path, self.sequences, self.class_names())


def _flatten(feature: Any, path: tuple[str, ...] = (), sequences: int = 0) -> Iterator[tuple[str, _Feature]]:
    import tensorflow_datasets as tfds

    while isinstance(feature, tfds.features.Sequence) and not isinstance(feature, tfds.features.Dataset):
        feature, sequences = feature.feature, sequences + 1
    if not isinstance(feature, tfds.features.FeaturesDict):
        yield ".".join(path), _Feature(path, feature, sequences)
        return
    for inner, part in feature.items():
        yield from _flatten(part, (*path, inner), sequences)


def _hint(name: str, known: Iterable[str]) -> str:
    match = nearest(name, known)
    return f" Did you mean {match!r}?" if match else ""


sources.register("tfds")(TfdsDataset())
