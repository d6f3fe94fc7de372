"""In what order batches come: shuffled epochs, a fixed mix, one slice per process, exact resume.

grain orders the data and NumPy gathers it. An element of the grain dataset is a whole shuffled
epoch of indices, not one index: grain's own `shuffle` costs about 60 us per index, a permuted
epoch about 60 us per thousand.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence

import grain
import numpy as np


@dataclasses.dataclass(frozen=True)
class Repeats:
    """A pool of indices from `start` on in which every class appears so often, by repeats.

    Each image of a class is repeated equally often; which of them once more than the others is
    drawn anew in every epoch.

    Attributes:
        labels: int [N]; class_counts: int [C].
    """

    labels: np.ndarray
    class_counts: np.ndarray
    start: int = 0

    def __len__(self):
        return int(np.asarray(self.class_counts)[np.unique(self.labels)].sum())

    def epoch(self, rng):
        """The indices of an epoch, int64."""
        parts = [np.zeros(0, np.int64)]
        for k, n in zip(*np.unique(self.labels, return_counts=True)):
            times, rest = divmod(int(self.class_counts[k]), int(n))
            rows = np.flatnonzero(self.labels == k)
            parts += [np.tile(rows, times), rng.choice(rows, rest, replace=False)]
        return self.start + np.concatenate(parts)


def index_batches(
    pools: Sequence[np.ndarray | Repeats],
    shares: Sequence[float],
    *,
    batch_size,
    seed,
    start_step=0,
    process_index=0,
    process_count=1,
) -> Iterator[np.ndarray]:
    """Endless batches of indices, int64 [batch_size / process_count].

    Every global batch holds exactly share * batch_size elements (rounded, largest remainder
    first) of each pool, evenly interleaved; a process takes a contiguous slice of it. Each pool
    is reshuffled every epoch. Batch t depends on (pools, shares, batch_size, seed, t) alone.

    Args:
        pools: index arrays, or `Repeats`; an empty one, or one with share 0, is left out.
        shares: relative share of each pool in a batch; need not sum to 1.
        batch_size: global batch size, over all processes.
        seed: non-negative integer.
        start_step: the first batch, when a run is resumed.

    Raises:
        ValueError: a batch that does not divide, or a share that yields no element.
    """
    local = local_slice(batch_size, process_index, process_count)
    counts = batch_counts(shares, [len(pool) for pool in pools], batch_size)
    # Element j of a pool's n stands at (j + 1/2) / n, so any slice of the batch keeps the mix.
    places = np.concatenate([(np.arange(n) + 0.5) / max(n, 1) for n in counts])
    order = np.argsort(places, kind='stable')[local]
    streams = [_stream(pool, [seed, k], n) for k, (pool, n) in enumerate(zip(pools, counts)) if n]

    def batches():
        for step in itertools.count(start_step):
            yield np.concatenate([draw(step) for draw in streams])[order]

    return batches()


def batch_counts(shares, sizes, batch_size):
    """How many elements of each pool a batch holds, int64 [pools], summing to `batch_size`.

    Raises:
        ValueError: a share is negative or gives its pool no element, or there are none at all.
    """
    shares, sizes = np.asarray(shares, float), np.asarray(sizes)
    if shares.shape != sizes.shape or not np.all(np.isfinite(shares) & (shares >= 0)):
        raise ValueError(f'need one share >= 0 per data set ({len(sizes)}), not {shares.tolist()}')
    used = np.where(sizes > 0, shares, 0.0)
    if not used.any():
        raise ValueError(f'nothing to train on: sizes {sizes.tolist()}, shares {shares.tolist()}')
    quotas = used / used.sum() * batch_size
    counts = np.floor(quotas).astype(np.int64)
    remainders = np.argsort(counts - quotas, kind='stable')
    counts[remainders[: batch_size - counts.sum()]] += 1
    if np.any((used > 0) & (counts == 0)):
        raise ValueError(
            f'shares {shares.tolist()} give a data set no element in a batch of {batch_size}; '
            'raise the share or the batch size, or set the share to 0'
        )
    return counts


def _stream(pool, seed, count):
    """step -> elements step * count up to (step + 1) * count of the endless shuffled pool."""
    state = np.random.SeedSequence(seed).generate_state(1)  # pools and seeds stay unrelated
    renew = pool.epoch if isinstance(pool, Repeats) else lambda rng: np.asarray(pool, np.int64)
    epochs = (
        grain.MapDataset.source([pool])
        .seed(int(state[0]))
        .repeat()
        .random_map(lambda _, rng: rng.permutation(renew(rng)))
    )
    epoch = functools.lru_cache(maxsize=1)(epochs.__getitem__)
    size = len(pool)

    def draw(step):
        first, last = step * count, (step + 1) * count
        return np.concatenate([
            epoch(e)[max(first - e * size, 0) : last - e * size]
            for e in range(first // size, (last - 1) // size + 1)
        ])

    return draw


def train_batches(
    sets,
    shares,
    *,
    batch_size,
    seed,
    weights=None,
    class_counts=None,
    start_step=0,
    process_index=0,
    process_count=1,
) -> Iterator[dict]:
    """Endless mixed batches of several image sets, which stay where they are.

    Yields {'image': uint8 [b, S, S, 3], 'label': int32 [b], 'weight': float32 [b]} with
    b = batch_size / process_count; see `index_batches` for order, shares and resume.

    Args:
        sets: `ImageSet`s of one image size.
        weights: loss weight of each set's images; None is 1 for all.
        class_counts: how often each class appears in an epoch of each set, int [C]; None: as often
            as it has images.

    Raises:
        ValueError: sets of different image shapes; besides, see `index_batches`.
    """
    weights = np.ones(len(sets), np.float32) if weights is None else np.float32(weights)
    shapes = {s.images.shape[1:] for s in sets if len(s.labels)}
    if len(weights) != len(sets) or len(shapes) > 1:
        raise ValueError(f'need one weight per data set and one image shape: {weights}, {shapes}')
    ends = np.cumsum([len(s.labels) for s in sets])
    starts = ends - [len(s.labels) for s in sets]
    pools = [
        start + np.arange(len(s.labels)) if class_counts is None
        else Repeats(s.labels, class_counts, start) for s, start in zip(sets, starts)
    ]
    batches = index_batches(
        pools, shares, batch_size=batch_size, seed=seed, start_step=start_step,
        process_index=process_index, process_count=process_count,
    )
    return (_gather(sets, starts, ends, weights, rows) for rows in batches)


def in_turn(first, then, switch, start_step):
    """The batches of `first` for the steps below `switch`, after that those of `then`.

    Args:
        first, then: start_step -> iterator of batches.
    """
    return itertools.chain(
        itertools.islice(first(start_step), max(switch - start_step, 0)),
        then(max(start_step, switch)),
    )


def _gather(sets, starts, ends, weights, rows):
    """The images, labels and weights at `rows` of the sets laid end to end."""
    which = np.searchsorted(ends, rows, side='right')
    present = np.unique(which)
    if len(present) == 1:  # one copy instead of two: a tenth of the time
        k = present[0]
        images, labels = sets[k].images[rows - starts[k]], sets[k].labels[rows - starts[k]]
        return {'image': images, 'label': labels, 'weight': weights[which]}
    images = np.empty((len(rows), *sets[present[0]].images.shape[1:]), np.uint8)
    labels = np.empty(len(rows), np.int32)
    for k in present:
        here = np.flatnonzero(which == k)
        images[here] = sets[k].images[rows[here] - starts[k]]
        labels[here] = sets[k].labels[rows[here] - starts[k]]
    return {'image': images, 'label': labels, 'weight': weights[which]}


def eval_batches(image_set, *, batch_size, process_index=0, process_count=1) -> Iterator[dict]:
    """One pass in fixed order; the last batch is padded with repeats of weight 0.

    Yields 'image' uint8 [b, S, S, 3], 'label' int32 [b], 'weight' float32 [b] (1 or 0) and
    'index' int32 [b], the row in `image_set`, with b = batch_size / process_count.
    """
    local = local_slice(batch_size, process_index, process_count)
    size = len(image_set.labels)

    def batches():
        for first in range(0, size, batch_size):
            places = np.arange(first, first + batch_size)[local]
            rows = places % size
            yield {
                'image': image_set.images[rows],
                'label': image_set.labels[rows].astype(np.int32, copy=False),
                'weight': (places < size).astype(np.float32),
                'index': rows.astype(np.int32),
            }

    return batches()


def local_slice(batch_size, process_index, process_count):
    """The contiguous part of a global batch that belongs to one process.

    Raises:
        ValueError: it cannot be cut so.
    """
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(
            f'a batch of {batch_size} does not divide over {process_count} processes; '
            f'use a positive multiple of {process_count}'
        )
    if not 0 <= process_index < process_count:
        raise ValueError(f'process_index {process_index} is not below {process_count}')
    share = batch_size // process_count
    return slice(process_index * share, (process_index + 1) * share)
