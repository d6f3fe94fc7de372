"""Does the generator still learn, or does it copy by now? A small sample of it, while it trains."""

import pathlib

import numpy as np
from PIL import Image

from generation import quality
from train import parallel

COLUMNS, TILE = 40, 64  # of a sheet at most; pixels to which small images are enlarged
HELD_OUT = 10_000  # images at most that a sample is compared with


def make_watch(folder, draw, judge, reference, distance, *, num_classes, each, first_step,
               copy_ratio, max_copy_rate, say):
    """(params, step) -> (row of metrics.jsonl, loss to choose the best by).

    Always the same noise: that of the first synthetic images of each class. Nothing here has seen
    a test image: the judge and the copies are of the training split, the distance is to the
    validation split.

    Args:
        folder: gets samples/step_00001000.png, one column a class, of up to COLUMNS classes.
        draw: (params, labels [N], seeds [N]) -> uint8 images [N, H, W, 3].
        judge: (images, labels) -> (probabilities [N, C], features [N, F]).
        reference: a `quality.Reference`.
        distance: (features [N, F], [M, F], labels [N], [M]) -> float, how far two sets are apart,
            the classes counted as in the second: `generative.kernel_distance`.
        each: images a class.
        first_step: whose row holds the real held-out images' copy rate beside the sample's.
        copy_ratio: nearest / second nearest training image in pixels, below which it is a copy.
        max_copy_rate: share of copies above which, and above twice the real held-out images'
            share, the alarm is raised: the loss is infinite, and `say` says why.
    """
    labels, seeds = np.tile(np.arange(num_classes), each), np.arange(each * num_classes)
    held_out = np.random.default_rng(0).permutation(len(reference.held_out_labels))[:HELD_OUT]
    drawn_of_them = each * len(np.unique(reference.held_out_labels[held_out]))

    def copy_rate(images):
        ratio, _ = quality.pixel_neighbours(images, reference)
        return float((ratio < copy_ratio).mean())

    real_rate = copy_rate(reference.held_out_images[np.sort(held_out)])

    def watch(params, step):
        images = draw(params, labels, seeds)
        if parallel.is_main():
            path = pathlib.Path(folder) / 'samples' / f'step_{step:08d}.png'
            path.parent.mkdir(exist_ok=True)
            shown = images[labels < COLUMNS]
            Image.fromarray(sheet(shown, min(num_classes, COLUMNS))).save(path)
        probabilities, features = judge(images, labels)
        row = {
            'sample_copy_rate': copy_rate(images),
            'sample_accuracy': float((probabilities.argmax(-1) == labels).mean()),
        }
        if step == first_step:
            row['real_heldout_copy_rate'] = real_rate
        loss = np.inf
        if min(len(held_out), drawn_of_them) > 1:  # a distance takes two images of either
            loss = row['sample_kernel_distance'] = distance(
                features, reference.held_out_features[held_out],
                labels, reference.held_out_labels[held_out],
            )
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


def sheet(images, columns):
    """Images uint8 [N, H, W, 3] in rows of so many, enlarged by whole factors, as one image."""
    count, height, width, channels = images.shape
    blank = np.full((-count % columns, height, width, channels), 255, np.uint8)
    factor = max(1, TILE // height)
    tiles = np.concatenate([images, blank]).repeat(factor, 1).repeat(factor, 2)
    tiles = np.pad(tiles, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=255)  # a thin frame
    rows = tiles.reshape(-1, columns, *tiles.shape[1:]).swapaxes(1, 2)
    return rows.reshape(rows.shape[0] * rows.shape[1], -1, channels)
