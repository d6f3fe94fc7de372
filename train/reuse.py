"""What a finished run is good for: classify images, measure again, draw more, take it along."""

import csv
import dataclasses
import functools
import pathlib
import unicodedata

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import export as jax_export
from PIL import Image

from configs import check
from data import augment, cache, clusters, folders, image_sets, sources
from data.decode import BadImage
from data.duplicates import digest
from eval import calibration, metrics, predict, results, sheets
from eval.formats import plural
from generation import export
from generation.samples import COLUMNS
from train import arms, disk, preparing, synthesizing
from train.progress import progress, say

CHUNK = 4096  # images decoded at a time
TOP = 5
FIRST_SEED = 10**9  # no run draws so many images


def probabilities(run, models, image_set, views=1):
    """Class probabilities float32 [S, N, C] by each of the run's classifiers, as they say.

    Args:
        models: `run.classifiers()`. image_set: an `ImageSet`, of the run's image size; its labels
            and names are not used.
        views: 1, or more for the mean over so many slightly moved views; see `predict.views`.

    Raises:
        ValueError: the images are of another size.
    """
    side = run.config.data.image_size
    if image_set.images.shape[1:] != (side, side, 3):
        shape = list(image_set.images.shape[1:])
        raise ValueError(f'the run knows images of [{side}, {side}, 3], and these are {shape}')
    settings = arms.settings(run.config.classifier, run.arm)
    size, found = settings.batch_size, []
    flip = settings.augment_flip and settings.augment != 'none'  # or no classifier has seen any
    for model, variables in models:
        moved = [
            predict.predict(model, variables, view, size)[0]
            for view in predict.views(image_set, views, flip)
        ]
        found.append(np.mean(moved, axis=0))
    return np.stack(found)


def calibrate(run, adjust=False):
    """The function that calibrates `probabilities` of the run, [S, N, C].

    Args:
        adjust: whether it adjusts them, too, so that rare classes are named more often; see
            `calibration.adjusted`.

    Raises:
        ValueError: the run has nothing to fit an adjustment to, as one of earlier code.
    """
    by = run.calibrations()
    if adjust:
        if not by:
            raise ValueError(f'--adjust: {run.folder} lacks what its classifiers say of validation '
                             f'images, {results.VALIDATION}, which earlier code did not store; '
                             'give its command with --rerun, or leave --adjust out')
        return functools.partial(calibration.adjusted, by=by, train_counts=run.train_counts())
    if not by:
        say(f'  Its classifiers have no {results.VALIDATION} and cannot be calibrated: '
            'probabilities are as they say')
        return lambda given: given
    return functools.partial(calibration.calibrated, by=by)


def write_predictions(run, images, out, views=1, adjust=False):
    """Classifies every image below a folder or in a zip; (images, unusable ones).

    Writes `out`, a CSV: file, class, probability, and the classes and probabilities of the best
    five, by the mean of calibrated classifiers; an unusable image has its reason in the last column
    and nothing else.

    Args: views: see `probabilities`; adjust: see `calibrate`.
    """
    rule = calibrate(run, adjust)
    out = pathlib.Path(out)
    source = folders.open_images(images, run.config.data.image_size)
    preparing.say_ignored(source)
    names, models, unusable = run.class_names(), run.classifiers(), 0
    top = range(1, min(TOP, len(names)) + 1)
    with (
        disk.atomic_write(out) as unfinished,
        unfinished.open('w', newline='', encoding='utf-8') as file,
        progress('images') as update,
    ):
        writer = csv.writer(file)
        writer.writerow(['file', 'class', 'probability',
                         *(f'{name}_{k}' for k in top for name in ('class', 'probability')),
                         'error'])
        for image_set, bad in _in_chunks(source, _decoded, update):
            unusable += len(bad)
            if len(image_set):
                mean = rule(probabilities(run, models, image_set, views)).mean(axis=0)
                for name, row in zip(image_set.names, mean, strict=True):
                    best = np.argsort(-row, kind='stable')[: len(top)]
                    cells = [(names[k], f'{row[k]:.4f}') for k in best]
                    writer.writerow([name, *cells[0], *(x for cell in cells for x in cell), ''])
            for name, reason in bad:
                writer.writerow([name, *[''] * (2 + 2 * len(top)), reason])
    return len(source), unusable


def _in_chunks(images, read, update):
    """read(images, rows) for CHUNK rows at a time, so that a set may be larger than memory."""
    for first in range(0, len(images), CHUNK):
        end = min(first + CHUNK, len(images))
        yield read(images, range(first, end))
        update(end, len(images))


def _decoded(source, rows):
    """(ImageSet of the rows that can be decoded, [(name, reason)] of the others)."""
    found = list(sources.read(source, rows))
    bad = [(item.name, item.reason) for item in found if isinstance(item, BadImage)]
    items = [item for item in found if not isinstance(item, BadImage)]
    groups = getattr(source, 'groups', ())
    return image_sets.ImageSet(
        np.stack([item['image'] for item in items]) if items else np.zeros((0, 1, 1, 3), np.uint8),
        np.array([item['label'] for item in items], np.int32),
        tuple(item['name'] for item in items),
        tuple(groups[item['index']] for item in items) if groups else (),
    ), bad


def evaluate(run, images=None, split='test', views=1, adjust=False):
    """metrics.json's entry of one arm, on a split of the run or on class folders.

    Args:
        images: a folder or zip with one sub-folder a class, or a CSV of files and classes; None:
            the run's own `split`.
        views: see `probabilities`; adjust: see `calibrate`.
    Returns:
        The entry, over the single classifiers; with `averaged`, of several: what their mean
        prediction, that of `write_predictions`, reaches.

    Raises:
        ValueError: of `images` one cannot be used, or none can, or a class is not the run's.
    """
    parts, config, rule = run.parts(), run.config, calibrate(run, adjust)
    models = run.classifiers()
    of = str(images) if images else f'{split} split'
    if images:
        source = sources.open_labelled(images, config.data.image_size, parts.class_names)
        preparing.say_ignored(source)
        known = cache.digests(run.stage('data'))
        learnt, read = known['train'] | known['validation'], _decoded
    else:
        source = getattr(parts, split)
        learnt, read = set(), lambda whole, rows: (whole.take(rows), [])
    predicted, labelled, names, groups, bad, seen = [], [], [], [], [], 0
    with progress('images') as update:
        for image_set, unusable in _in_chunks(source, read, update):
            bad += unusable
            if bad and config.data.on_bad_image != 'skip':
                raise ValueError(f'{of}: {": ".join(bad[0])}; mend or remove it')
            if len(image_set):
                predicted.append(probabilities(run, models, image_set, views))
                labelled.append(image_set.labels)
                names += image_set.names
                groups += image_set.groups
            if learnt:
                seen += sum(digest(image) in learnt for image in image_set.images)
    if not len(source):
        raise ValueError(f'{of}: the run has no such images; give --images')
    if not predicted:
        raise ValueError(f'{of}: of its {len(source)} images none can be used')
    found, labels = np.concatenate(predicted, axis=1), np.concatenate(labelled)
    if bad:
        say(f'  {of}: {plural(len(bad), "unusable image")}, first {": ".join(bad[0])}; left out, '
            'as the run itself does')
    if seen:
        say(f'  {seen:,} of the {len(labels):,} images are training or validation images of '
            'this run: the scores are too good')
    of_known = {*parts.train.groups, *parts.validation.groups} - {''} if images else ()
    if kin := sum(group in of_known for group in groups):
        say(f'  {kin:,} of the {len(labels):,} images are of groups with the names of those that '
            'this run has learnt from: if they are the same, the scores are too good')
    bounds = {'many': config.report.many, 'few': config.report.few}
    said = rule(found)
    own = {run.arm: said} if run.calibrations() else {}  # else nothing has calibrated them
    scores = results.compare(
        labels, {run.arm: said if adjust else found}, parts.class_names, parts.train_counts,
        bounds,
        clusters.find(
            names, labels, config.splits.group_by, [] if images else parts.duplicates, split,
            groups),
        calibrated={} if adjust else own,
    )['arms'][run.arm]
    scores |= {
        'images': len(labels), 'of': of, 'seen': seen, 'by': run.words(), 'views': views,
        'adjusted': adjust}
    if len(found) > 1:
        mean = metrics.summary(labels, said.mean(axis=0).argmax(-1), found.shape[-1])
        scores['averaged'] = {key: mean[key] for key in results.METRICS}
    return scores


def draw(run, labels, seeds, update=lambda done, total: None, **synthesis):
    """Images uint8 [N, S, S, 3] by the run's generator, unchecked.

    Args:
        labels: the classes' numbers, int [N], as `run.class_names()` counts them.
        seeds: int [N]. An image is a function of its class, its seed, the generator and the
            training images. From FIRST_SEED on are those that the run itself has not drawn.
        update: called with the number of images that are drawn, and of all.
        synthesis: fields of `config.synthesis` that are to be others than the run's, such as
            sampler='ddim', steps=50, guidance_scale=2.0.

    Raises:
        ValueError: an unknown field, or no scale for this generator.
    """
    config = run.config
    if unknown := synthesis.keys() - config.synthesis.keys():
        raise ValueError(f'config.synthesis has no field {unknown.pop()!r}')
    if synthesis:
        changed = ml_collections.ConfigDict(config.to_dict())
        changed.synthesis.update(synthesis)
        config = ml_collections.FrozenConfigDict(changed)
        check.check_guidance(config)
    make = synthesizing.make_draw(config, run.parts(), len(labels))
    return make(run.generator(), labels, seeds, update)


def sample(run, out, *, classes=(), count=8, first_seed=FIRST_SEED, guidance=None):
    """Draws `count` images of each class, unchecked, as out/<class>/<seed>.png.

    out/sheet.png shows the first COLUMNS of each class.

    Args:
        classes: names; () is all of them.
        first_seed: of each class; see `draw`.
        guidance: the scale; None: the run's.
    Returns:
        The number of images.

    Raises:
        ValueError: an unknown class, or no scale for this generator.
    """
    names, out = run.class_names(), pathlib.Path(out)
    composed = {unicodedata.normalize('NFC', name): name for name in names}  # macOS decomposes
    classes = [composed.get(unicodedata.normalize('NFC', name), name) for name in classes]
    unknown = [name for name in classes if name not in names]
    if unknown:
        raise ValueError(
            f'the run has no class {unknown[0]!r}; it has {", ".join(names)} (a name with a comma '
            "is given in quotes within quotes: --classes='\"a,b\"')"
        )
    chosen = [k for k, name in enumerate(names) if not classes or name in classes]
    labels = np.tile(chosen, count)
    seeds = np.repeat(first_seed + np.arange(count), len(chosen))
    other = {} if guidance is None else {'guidance_scale': float(guidance)}
    with progress('images') as update:
        images = draw(run, labels, seeds, update, **other)
    for image, label, seed in zip(images, labels, seeds, strict=True):
        path = out / export.safe_name(names[label]) / f'{seed:08d}.png'
        with disk.atomic_write(path) as unfinished:
            Image.fromarray(image).save(unfinished, 'PNG')
    rows = {
        names[label]: [
            (f'…{seeds[i] % 10**4:04d}', images[i])
            for i in np.flatnonzero(labels == label)[:COLUMNS]
        ]
        for label in chosen
    }
    with disk.atomic_write(out / 'sheet.png') as unfinished:
        unfinished.write_bytes(sheets.named(rows))
    return len(images)


def export_classifier(run, out, adjust=False):
    """The classifiers' mean as a single file that needs JAX and nothing of this project.

    `jax.export.deserialize(bytearray(file)).call(images)` gives the probabilities float32 [N, C] of
    images uint8 [N, S, S, 3], S and the classes' names in <out>.json; on CPU, GPU and TPU.

    Args: adjust: see `calibrate`.
    """
    out = pathlib.Path(out)
    models, rule = run.classifiers(), calibrate(run, adjust)
    side = run.config.data.image_size

    def classify(images):
        x = augment.to_float(images)
        logits = jnp.stack([model.apply(variables, x)[0] for model, variables in models])
        return rule(jax.nn.softmax(logits.astype(jnp.float32))).mean(axis=0)

    shape = jax_export.symbolic_shape(f'n, {side}, {side}, 3')
    exported = jax_export.export(jax.jit(classify), platforms=('cpu', 'cuda', 'tpu'))(
        jax.ShapeDtypeStruct(shape, jnp.uint8)
    )
    facts = {
        'class_names': run.class_names(), 'image_size': side, 'arm': run.arm, 'seeds': run.seeds,
        'input': f'uint8 [N, {side}, {side}, 3], RGB: turned by its EXIF orientation, transparency '
                 'on white, 16 bits divided by 257, the centred square scaled by Lanczos',
        'output': 'float32 [N, classes], probabilities', 'adjusted': adjust,
        'calibrations': [dataclasses.asdict(one) for one in run.calibrations()],
        'train_counts': np.stack(run.train_counts()).tolist(), 'jax': jax.__version__,
    }
    disk.write_json(out.with_name(out.name + '.json'), facts)
    with disk.atomic_write(out) as unfinished:
        unfinished.write_bytes(exported.serialize())
