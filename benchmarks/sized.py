"""One piece of work on one number of images, in a process of its own; see `benchmarks.scaling`.

Images are 16x16: random shapes with about the spectrum of photographs.
"""

import itertools
import pathlib
import tempfile
import time

import numpy as np

from benchmarks import children, steps
from configs import default
from data import cache, cuts, pipeline, splits
from generation import distances, export, quality

SIDE, BATCH, FEW = 16, 64, 1000
LEAST_SECONDS, MOST_REPEATS = 0.5, 20  # shorter works are repeated, and the median is taken


def order(images, classes):
    """One epoch of index batches."""
    rows = np.arange(len(images))
    count = -(-len(images) // BATCH)

    def work():
        batches = pipeline.index_batches([rows], [1.0], batch_size=BATCH, seed=0)
        for _ in range(count):
            next(batches)

    return work


def cut(images, classes):
    """A stratified cut of the labels alone."""
    return lambda: cuts.stratified_cut(images.labels, 0.1, seed=0)


class _Source:
    """An `ImageSet` as a `data.sources.Source`."""

    def __init__(self, images, classes):
        self.images, self.labels = images, images.labels
        self.class_names = tuple(f'class {k}' for k in range(classes))

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        one = self.images
        return {'image': one.images[i], 'label': int(one.labels[i]), 'name': one.names[i]}


def split(images, classes):
    """The whole data stage but for decoding: cuts, copies across splits, and the cache."""
    source, fresh = _Source(images, classes), _folders()

    def work():
        made = splits.prepare(
            source, None, test_fraction=0.3, validation_fraction=0.1,
            duplicate_correlation=default.get_config().splits.duplicate_correlation,
        )
        folder = next(fresh)
        cache.save(made, folder)
        cache.load(folder)

    return work


def copies(images, classes):
    """Distances of synthetic images to the nearest two of 1,000 training images, in pixels."""
    queries, training = images.images, steps.picture_set(FEW, SIDE, classes, 1).images
    return lambda: distances.neighbour_ratio(queries, training)


def copies_of_many(images, classes):
    """The same of 1,000 synthetic images to the nearest two training images."""
    queries, training = steps.picture_set(FEW, SIDE, classes, 1).images, images.images
    return lambda: distances.neighbour_ratio(queries, training)


def duplicates(images, classes):
    """Synthetic images that repeat one another: none here."""
    none = images.images[:0], images.labels[:0]
    limits = quality.duplicate_limits(images.images, images.labels, classes, 1 / 3)
    return lambda: quality.duplicates(images.images, images.labels, *none, limits)


def limits(images, classes):
    """The distances between training images of a class that tell what a repeat is."""
    return lambda: quality.duplicate_limits(images.images, images.labels, classes, 1 / 3)


def export_images(images, classes):
    """Class folders of PNG files and their metadata, on the temporary folder's disk."""
    rows = {
        'images': images.images, 'labels': images.labels, 'seeds': np.arange(len(images)),
        'reasons': np.full(len(images), ''), 'relevance': np.ones(len(images)),
    }
    names, fresh = [f'class {k}' for k in range(classes)], _folders()
    return lambda: export.write(next(fresh), rows, names, {'sampler': 'none'})


def _folders():
    """New temporary folders; all go when the process ends, so that no work is timed deleting."""
    with tempfile.TemporaryDirectory() as root:
        for number in itertools.count():
            yield pathlib.Path(root) / str(number)


# {name in the table: images [N], number of classes -> function that does the work}
WORKS = {
    'ordering, one epoch': order,
    'cut of labels': cut,
    'data stage without decoding': split,
    'copies: N synthetic, 1,000 training': copies,
    'copies: 1,000 synthetic, N training': copies_of_many,
    'duplicates: N synthetic': duplicates,
    'duplicate limits: N training': limits,
    'export': export_images,
}


def _forget_peak():
    """Lets `children.peak_mb` start anew from what is held now, where the system can (Linux)."""
    try:
        pathlib.Path('/proc/self/clear_refs').write_text('5')
    except OSError:  # what making the images took for a moment then hides as much of the work
        pass


def measure(work, size, classes):
    """{'seconds': median, 'peak_mb', 'added_mb': of it above what the images and imports hold}."""
    run = WORKS[work](steps.picture_set(size, SIDE, classes), classes)
    _forget_peak()
    before, seconds = children.peak_mb(), []
    while not seconds or (sum(seconds) < LEAST_SECONDS and len(seconds) < MOST_REPEATS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    peak = children.peak_mb()
    added = max(peak - before, 0.0)  # Linux counts in batches, which may hide what was added
    return {'seconds': float(np.median(seconds)), 'peak_mb': peak, 'added_mb': added}


if __name__ == '__main__':
    request, _ = children.request()
    children.answer(measure(**request))
