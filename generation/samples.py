"""Does the generator still learn, or does it copy by now? A small sample of it, while it trains."""

import pathlib

import numpy as np
from PIL import Image

from generation import quality
from train import parallel

COLUMNS, TILE = 40, 64  # of a sheet at most; pixels to which small images are enlarged


def make_watch(folder, draw, judge, reference, distance, *, num_classes, each, first_step,
               copy_ratio, max_copy_rate, say):  # fmt: skip
    """(params, step) -> (row of metrics.jsonl, loss to choose the best by).

    Always the same noise: that of the first synthetic images of each class. Nothing here has seen
    a test image: the judge and the copies are of the training split, the distance is to the
    validation split, with as many of each class on either side as `one_mix` says.

    Args:
        folder: gets samples/step_00001000.png, one column a class.
        draw: (params, labels [N], seeds [N]) -> uint8 images [N, H, W, 3].
        judge: (images, labels) -> (probabilities [N, C], features [N, F]).
        reference: a `quality.Reference`.
        distance: (features [N, F], features [M, F]) -> float, two sets' dissimilarity.
        each: images a class.
        first_step: whose row holds the real held-out images' copy rate beside the sample's.
        copy_ratio: nearest / second nearest training image in pixels, below which it is a copy.
        max_copy_rate: share of copies above which, and above twice the real held-out images'
            share, the alarm is raised: the loss is infinite, and `say` says why.
    """
    labels, seeds = np.tile(np.arange(num_classes), each), np.arange(each * num_classes)
    ours, theirs = one_mix(reference.held_out_labels, num_classes, each)

    def copy_rate(images, features):
        ratio, _ = quality.neighbours(images, features, reference)['pixels']
        return float((ratio < copy_ratio).mean())

    real_rate = copy_rate(reference.held_out_images, reference.held_out_features)

    def watch(params, step):
        images = draw(params, labels, seeds)
        if parallel.is_main():
            path = pathlib.Path(folder) / 'samples' / f'step_{step:08d}.png'
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(sheet(images, min(num_classes, COLUMNS))).save(path)
        probabilities, features = judge(images, labels)
        row = {
            'sample_copy_rate': copy_rate(images, features),
            'sample_accuracy': float((probabilities.argmax(-1) == labels).mean()),
        }
        if step == first_step:
            row['real_heldout_copy_rate'] = real_rate
        loss = np.inf
        if len(theirs) > 1:
            held_out = reference.held_out_features[theirs]
            loss = row['sample_kernel_distance'] = distance(features[ours], held_out)
        if row['sample_copy_rate'] > max(max_copy_rate, 2 * real_rate):
            row['alarm'] = (
                f'the generator copies: {row["sample_copy_rate"]:.1%} of the sample at step {step} '
                f'are training images (real held-out images: {real_rate:.1%}); train it for fewer '
                'steps, make it smaller or augment more'
            )
            say(f'  {row["alarm"]}')
            loss = np.inf
        return row, loss

    return watch


def one_mix(held_out_labels, num_classes, each, seed=0):
    """Rows of a sample and of held-out images, in which each class is as frequent as in the other.

    A sample has `each` images of every class, row i one of class i % num_classes; held-out images
    are as uneven as the data. Between all of both, a sample in which rare classes look like
    frequent ones would be nearer than a perfect one.

    Returns:
        (rows of the sample, rows of the held-out images): of each class up to `each` of the
        latter, drawn by `seed`, and of the sample as many times that as it has.
    """
    rng = np.random.default_rng(seed)
    theirs = [
        rng.permutation(np.flatnonzero(held_out_labels == k))[:each] for k in range(num_classes)
    ]
    times = each // max(1, *map(len, theirs))
    ours = [k + num_classes * np.arange(times * len(rows)) for k, rows in enumerate(theirs)]
    return np.concatenate(ours), np.concatenate(theirs)


def sheet(images, columns):
    """Images uint8 [N, H, W, 3] in rows of so many, enlarged by whole factors, as one image."""
    count, height, width, channels = images.shape
    blank = np.full((-count % columns, height, width, channels), 255, np.uint8)
    factor = max(1, TILE // height)
    tiles = np.concatenate([images, blank]).repeat(factor, 1).repeat(factor, 2)
    tiles = np.pad(tiles, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=255)  # a thin frame
    rows = tiles.reshape(-1, columns, *tiles.shape[1:]).swapaxes(1, 2)
    return rows.reshape(rows.shape[0] * rows.shape[1], -1, channels)
