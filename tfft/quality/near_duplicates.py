"""Groups of texts that are nearly the same: MinHash finds the candidates, exact Jaccard similarity decides."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import sparse

from tfft.console import Console
from tfft.core.errors import ConfigError
from tfft.quality._shingles import shingle_hashes
from tfft.quality.normal_form import normal_form

#: Least Jaccard similarity of the shingles of two near duplicates (chosen with benchmarks/data_quality.py).
THRESHOLD = 0.7
#: Length of a MinHash signature, and the least share of pairs at the threshold that become candidates.
SIGNATURE, LEAST_RECALL = 128, 0.95
#: Characters that are cut into shingles, shingles that are signed, and pairs that are compared, at a time.
CHARACTERS_AT_ONCE, SHINGLES_AT_ONCE, PAIRS_AT_ONCE = 1_000_000, 20_000, 50_000
#: In a larger bucket a text is compared with its first text and with so many that follow alphabetically.
NEIGHBOURS = 50
_SEED = 1
_FACTORS = np.random.default_rng(_SEED).integers(0, 2**64, size=SIGNATURE, dtype=np.uint64) | np.uint64(1)


def near_duplicate_groups(texts: Sequence[str], console: Console, *, threshold: float = THRESHOLD) -> np.ndarray:
    """Numbers the texts so that near duplicates, directly or through others, have the same number.

    Texts with the same normal form are always in one group. Two texts are near duplicates when the Jaccard similarity
    of their sets of shingles (4 characters, 2 in Chinese, Japanese and Korean) reaches the threshold. Candidate pairs
    come from MinHash signatures in bands (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4).
    The order of the texts has no influence: neither on the groups nor on their numbers.

    Args:
        texts: Any texts.
        console: Where progress is shown.
        threshold: Least similarity, above 0 and at most 1.

    Returns:
        Group numbers, int64 of shape `(texts,)`.

    Raises:
        ConfigError: When the threshold is out of range.
    """
    return groups_of_normal_forms([normal_form(text) for text in texts], console, threshold=threshold)


def groups_of_normal_forms(normal: Sequence[str], console: Console, *, threshold: float = THRESHOLD) -> np.ndarray:
    """Does what `near_duplicate_groups` does, for texts that are in normal form already.

    Args:
        normal: Texts in normal form.
        console: Where progress is shown.
        threshold: Least similarity, above 0 and at most 1.

    Returns:
        Group numbers, int64 of shape `(texts,)`.

    Raises:
        ConfigError: When the threshold is out of range.
    """
    if not 0 < threshold <= 1:
        raise ConfigError(f"The similarity of near duplicates must be above 0 and at most 1, not {threshold!r}.")
    distinct = sorted(set(normal))
    if not distinct:
        return np.empty(0, dtype=np.int64)
    bands = [_buckets(keys) for keys in _band_keys(distinct, _rows_per_band(threshold), console).T]
    comparison = _Comparison(distinct, np.concatenate([members for members, _ in bands]), threshold)
    for pairs_of in (_first_pairs, _neighbour_pairs):
        for members, starts in bands:
            comparison.compare(pairs_of(members, starts, comparison.groups))
    groups = comparison.groups
    places = {text: place for place, text in enumerate(distinct)}
    return groups[np.fromiter((places[text] for text in normal), dtype=np.int64, count=len(normal))]


def _rows_per_band(threshold: float) -> int:
    """Returns the longest band with which enough pairs at the threshold still share one (formula of section 3.4.2)."""
    fitting = [rows for rows in range(1, SIGNATURE) if 1 - (1 - threshold**rows) ** (SIGNATURE // rows) >= LEAST_RECALL]
    return max(fitting, default=1)


def _band_keys(texts: Sequence[str], rows: int, console: Console) -> np.ndarray:
    """Returns one key for each band of each text's signature, uint64 of shape `(texts, bands)`."""
    from datasketch import MinHash

    bands = SIGNATURE // rows
    keys = np.zeros((len(texts), bands), dtype=np.uint64)
    # The shingles are hashed already, so int passes them through; the scheme, whose name fixes it, mixes them again.
    sketch = MinHash(num_perm=SIGNATURE, seed=_SEED, hashfunc=int, scheme="affine64")
    with console.progress("comparing texts", len(texts), "texts") as advance:
        for start, end in _chunks(texts):
            hashes, offsets = shingle_hashes(texts[start:end])
            signed = np.zeros((end - start, bands * rows), dtype=np.uint64)
            for row in range(end - start):
                sketch.clear()  # cheaper than a sketch for each text
                for first in range(offsets[row], offsets[row + 1], SHINGLES_AT_ONCE):
                    last = min(first + SHINGLES_AT_ONCE, offsets[row + 1])
                    sketch.update_batch(hashes[first:last].tolist())
                signed[row] = sketch.hashvalues[: bands * rows]
            in_bands = signed.reshape(end - start, bands, rows)
            keys[start:end] = (in_bands * _FACTORS[:rows]).sum(axis=2, dtype=np.uint64)
            advance(end - start)
    return keys


def _chunks(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yields the bounds of runs of texts that together have few enough characters, or are one."""
    start = characters = 0
    for place, text in enumerate(texts):
        if place > start and characters + len(text) > CHARACTERS_AT_ONCE:
            yield start, place
            start, characters = place, 0
        characters += len(text)
    if texts:
        yield start, len(texts)


def _shingle_sets(texts: Sequence[str]) -> sparse.csr_array:
    """Returns which text has which shingle, ones of shape `(texts, shingles)`."""
    sets, sizes = [np.empty(0, dtype=np.uint64)], [np.zeros(1, dtype=np.int64)]
    for start, end in _chunks(texts):
        hashes, offsets = shingle_hashes(texts[start:end])
        owners = np.repeat(np.arange(end - start), np.diff(offsets))
        order = np.lexsort((hashes, owners))
        hashes, owners = hashes[order], owners[order]
        first = np.ones(len(hashes), dtype=bool)
        first[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
        sets.append(hashes[first])
        sizes.append(np.bincount(owners[first], minlength=end - start))
    shingles, indices = np.unique(np.concatenate(sets), return_inverse=True)
    ones = np.ones(len(indices), dtype=np.int32)
    return sparse.csr_array(
        (ones, indices, np.cumsum(np.concatenate(sizes))), shape=(len(texts), max(len(shingles), 1))
    )


def _buckets(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the texts that share their key of one band with another text.

    Args:
        keys: The key of each text, uint64 of shape `(texts,)`.

    Returns:
        These texts, bucket after bucket and ascending within one, and where each bucket begins, and the end.
    """
    order = np.argsort(keys, kind="stable")
    sizes = np.diff(np.concatenate([[0], np.flatnonzero(np.diff(keys[order])) + 1, [len(keys)]]))
    members = order[np.repeat(sizes > 1, sizes)]
    return members, np.concatenate([[0], np.cumsum(sizes[sizes > 1])])


def _first_pairs(members: np.ndarray, starts: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Returns each member of a bucket with the bucket's first: nearly all that matter, and few in a large bucket."""
    firsts = np.repeat(members[starts[:-1]], np.diff(starts))
    apart = groups[firsts] != groups[members]
    return np.stack([firsts[apart], members[apart]], axis=1)


def _neighbour_pairs(members: np.ndarray, starts: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Returns the other pairs within a bucket, up to `NEIGHBOURS` apart, whose texts are not in one group yet."""
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for start, end in itertools.pairwise(starts):
        bucket = members[start:end]
        if len(bucket) == 2 or (groups[bucket] == groups[bucket[0]]).all():  # noqa: PLR2004
            continue
        steps = np.arange(1, min(len(bucket), NEIGHBOURS + 1))
        one = np.repeat(np.arange(len(bucket)), len(steps))
        other = one + np.tile(steps, len(bucket))
        one, other = bucket[one[other < len(bucket)]], bucket[other[other < len(bucket)]]
        pairs.append(np.stack([one, other], axis=1)[groups[one] != groups[other]])
    return np.concatenate(pairs)


class _Comparison:
    """Compares candidate pairs exactly and joins those that are similar enough."""

    def __init__(self, texts: Sequence[str], candidates: np.ndarray, threshold: float) -> None:
        """Builds the sets of shingles of the candidates.

        Args:
            texts: Distinct texts.
            candidates: Positions of those that will be compared, int64.
            threshold: Least Jaccard similarity.
        """
        #: Group of each text, numbered by first member, int64 of shape `(texts,)`.
        self.groups = np.arange(len(texts))
        self._threshold = threshold
        candidates = np.unique(candidates)
        self._places = np.full(len(texts), -1, dtype=np.int64)
        self._places[candidates] = np.arange(len(candidates))
        self._sets = _shingle_sets([texts[at] for at in candidates])
        self._sizes = np.diff(self._sets.indptr)

    def compare(self, pairs: np.ndarray) -> None:
        """Joins the groups of those pairs, int64 of shape `(pairs, 2)`, that are similar."""
        for start in range(0, len(pairs), PAIRS_AT_ONCE):
            chunk = pairs[start : start + PAIRS_AT_ONCE]
            one, other = self._places[chunk[:, 0]], self._places[chunk[:, 1]]
            common = np.asarray(self._sets[one].multiply(self._sets[other]).sum(axis=1)).ravel()
            union = self._sizes[one] + self._sizes[other] - common
            # As a product: 7 / 10 must not come out just below the threshold.
            self._join(chunk[common >= self._threshold * union - 1e-9])

    def _join(self, pairs: np.ndarray) -> None:
        """Makes one group of the groups of each pair."""
        if len(pairs) == 0:
            return
        one, other = self.groups[pairs].T
        graph = sparse.coo_array((np.ones(len(pairs)), (one, other)), shape=(len(self.groups), len(self.groups)))
        _, joined = sparse.csgraph.connected_components(graph, directed=False)
        _, first, group = np.unique(joined[self.groups], return_index=True, return_inverse=True)
        self.groups = np.argsort(np.argsort(first))[group]
