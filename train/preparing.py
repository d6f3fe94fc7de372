"""From what the config names as images to train, validation and test, and to what suits them."""

import dataclasses
import io
import os
import pathlib

import jax
import numpy as np
from PIL import Image

from configs import auto
from data import cache, cuts, folders, image_sets, sources, splits, tables
from data.decode import FORMATS, BadImage, EncodedSource
from eval import figures
from eval.formats import plural, some
from generation import export
from train import disk, finished, processes, provenance
from train.progress import progress, say

GUARDED = 'splits.json', 'duplicates.json'  # what of the data the other stages build on
LOOKED_AT = 200  # images whose size and colour `facts` takes from their files
SHOWN = 3  # names of files that are passed over
FLAT = 64  # of 255 levels: 14 bits in files of 16
FEW = 0.1  # share of the images that may be so
NEAR = 0.05  # share of the held-out images that may be near copies before the user is asked


def prepare_data(folder, config):
    """Decodes every image once and cuts train, validation and test."""
    with progress('images') as update:
        parts = read_splits(config, progress=update, folder=folder.resolve())
    cache.save(parts, folder)
    counts = parts.train_counts
    (folder / 'class_counts.png').write_bytes(figures.class_counts(parts.class_names, counts))
    say(
        f'  {len(counts)} classes, {counts.min()} to {counts.max()} training images each; '
        f'{len(parts.train)} train, {len(parts.validation)} validation, {len(parts.test)} test; '
        + plural(len(parts.duplicates), 'group of duplicates', 'groups of duplicates')
        + (f', {len(parts.leaks)} of them across splits: parted' if parts.leaks else '')
        + (' (data/duplicates.json)' if parts.duplicates else '')
    )
    if bad := parts.bad_images:
        say(f'  {plural(len(bad), "unusable image")} left out, see data/bad_images.json; the '
            f'first: {bad[0]["name"]}: {bad[0]["error"]}')
    for line in warnings(parts):
        say(f'  {line}')


def warnings(parts):
    """What should make a user look at the images again before a run, a line each."""
    lines = []
    near, lost = image_sets.near_parted(parts.duplicates), parts.untested_for_copies
    if near > NEAR * (len(parts.validation) + len(parts.test)) or lost:
        taken = sum(entry['parted'] for entry in parts.leaks)
        none = f', and no test image is left of {some(lost)}' if lost else ''
        way_out = f'; {splits.NO_COPIES}' if near else ''
        lines.append(f'{taken} images were taken for copies{none}{way_out}')
    if never := [name for name in parts.untested if name not in lost]:
        lines.append(f'no test image of {some(never)}: nothing will be said of '
                     f'{"it" if len(never) == 1 else "them"}')
    if twice := parts.contradictions:
        classes = twice[0]['action'].partition(image_sets.DISAGREE)[2]
        lines.append(f'{plural(len(twice), "picture")} in two classes or more, as '
                     f'{twice[0]["names"][0]} in {classes}: only one can be right')
    return lines + _dull(parts.train.images)


def _dull(images):
    """A line if many images have so few levels that they look black or grey."""
    shown = images[:: -(-len(images) // LOOKED_AT)]
    flat = int((np.ptp(shown, axis=(1, 2, 3)) <= FLAT).sum())
    if flat <= FEW * len(shown):
        return []
    return [f'{flat} of {len(shown)} images looked at span no more than {FLAT} of 255 levels: '
            'little is to be seen in them, and copies among them may not be found; where they are '
            'of 10 to 14 bits in files of 16, or of few values around one, spread these over all '
            'that a file can hold']


def depends(config, workdir):
    """What the data depend on, for `stages.Runner.run`: paths however they are written."""
    data = config.data.to_dict()
    for field in ('train', 'test'):
        if data[field]:
            data[field] = os.path.normpath(os.path.expanduser(data[field]))
    return {
        'reads': {'data': data, 'splits': config.splits},
        # process 0's word: it alone decodes, and others may have no images, or copies of them
        'after': processes.on_main(lambda: input_digests(config.data, workdir)),
        'code': ['train/preparing.py', 'data'],
    }


def input_digests(data, workdir):
    """Digests of the files that `config.data` reads, so that a changed image is noticed.

    Of a folder or zip that is gone, that of when this run read it, by the same name.
    """
    config, digests = provenance.saved(workdir).get('config', {}), []
    known = finished.inputs(finished.places(workdir).get('data', workdir / 'data')) or []
    for i, path in enumerate(sources.paths(data.source, train=data.train, test=data.test)):
        place = pathlib.Path(os.path.expanduser(path))
        gone = tables.is_gone(place) if tables.is_table(place) else not place.exists()
        if gone and known[i:] and config.get('data') == provenance.plain(data):
            say(f'data: {path} is gone; what was read of it before stands')
            digests.append(known[i])
        else:
            digests.append(disk.digest(path))
    return digests


def open_source(config):
    """(training pool, test source or None) that the config names; see `sources.open_source`."""
    return sources.open_source(
        config.data.source, image_size=config.data.image_size, train=config.data.train,
        test=config.data.test, seed=config.data.seed,
    )


def read_splits(config, **options):
    """The `Splits` that the config describes; `options` go to `splits.prepare`.

    Raises:
        ValueError: they cannot be made, in a line that says what to do.
    """
    train, test = open_source(config)
    if strange := [name for name in train.class_names if not name.isprintable()]:
        raise ValueError(
            f'the class name {strange[0]!r} has signs in it that cannot be shown; rename its folder'
        )
    if long := [name for name in train.class_names if len(export.safe_name(name).encode()) > 200]:
        raise ValueError(
            f'the class name {long[0][:40]!r}... is too long for the names of its synthetic '
            'images; give its folder one of up to 200 bytes (signs such as : count three)'
        )
    for source in (train, test):
        say_ignored(source)
    grouped = [bool(getattr(source, 'groups', ())) for source in (train, test) if source]
    if any(grouped) and not all(grouped):
        say(f'  only config.data.{"train" if grouped[0] else "test"} has a column group: what of '
            'the other belongs to the same is not known')
    if splits.keeper(train, config.splits.group_by):
        _say_groups(train, test, config.splits.group_by)
    try:
        parts = splits.prepare(
            train, test, test_fraction=config.splits.test_fraction,
            validation_fraction=config.splits.validation_fraction, imbalance=config.data.imbalance,
            seed=config.splits.seed, fold=config.splits.fold, on_bad_image=config.data.on_bad_image,
            duplicate_correlation=config.splits.duplicate_correlation,
            group_by=config.splits.group_by, **options,
        )
    except BadImage as error:
        raise ValueError(
            f'{error}; mend or remove it, or give --config.data.on_bad_image=skip, which leaves '
            'such images out; --mode=doctor lists them'
        ) from error
    if not len(parts.validation):
        by = splits.keeper(train, config.splits.group_by)
        one = f'a group of images (by {by})' if by else 'an image'
        raise ValueError(
            f'no class has {one} to spare for validation; give 3 or more a class, or 2 and a '
            f'config.data.test{_why_missing(parts, config)}'
        )
    if len(parts.untested) == len(parts.class_names) - 1:
        tested, = {*parts.class_names} - {*parts.untested}
        raise ValueError(
            f'all test images are of one class, {tested!r}, and to name it always would be right; '
            f'give test images of the others{_why_missing(parts, config)}'
        )
    return parts


def _why_missing(parts, config):
    return splits.missing_hint(parts.duplicates, parts.bad_images,
                               splits.keeper(parts.train, config.splits.group_by))


def _say_groups(train, test, pattern):
    """How many groups the images are; refuses a pattern that makes none, or one of all."""
    both, by = splits.groups(train, test, pattern), splits.keeper(train, pattern)
    groups, tested = both[: len(train)], both[len(train) :]
    _, sizes = np.unique(groups, return_counts=True)
    largest = max(sizes)
    none = bool(pattern) and len(np.unique(both)) == len(both)  # a table may have such a column
    if none or largest == len(groups):
        what = 'all images' if largest == len(groups) else 'no two images'
        raise ValueError(
            f'{by} puts {what} together, such as {train.names[0]} and {train.names[-1]}; it should '
            'those of one person, object or day'
        )
    shared = cuts.shared(train.names, pattern, getattr(train, 'groups', ()))
    first = next(i for i, found in enumerate(shared) if found is not None)
    say(f'  {len(groups):,} images in {len(sizes):,} groups by {by}, the largest of {largest:,}; '
        f'{train.names[first]} is of {" and ".join(map(str, shared[first]))}')
    lone = [name for name, found in zip(train.names, shared) if found is None]
    if lone:
        say(f'  {plural(len(lone), "image")} of these, as {lone[0]}, are of none: each counts as a '
            'group of its own')
    of_class = np.unique(np.stack([train.labels, groups]), axis=1)[0]
    alone = np.flatnonzero(np.bincount(of_class, minlength=len(train.class_names)) == 1)
    if len(alone) and test is None:
        names = some([train.class_names[label] for label in alone])
        say(f'  all images of {names} are one group')
    if known := int(np.isin(groups, tested).sum()):
        say(f'  {plural(known, "image")} left out, whose group lies in config.data.test')


def say_ignored(source):
    """Names the files in a source's folder that are no part of it: images that lie elsewhere than
    right in a class folder, and what is none."""
    ignored = getattr(source, 'ignored', ())
    images = [path for path in ignored if folders.is_image(path)]
    hidden = [path for path in images if folders.is_hidden(path)]
    elsewhere = [path for path in images if not folders.is_hidden(path)]
    others = [path for path in ignored if not folders.is_image(path)]
    for found, what, why in (
        (hidden, 'image', 'in a folder whose name begins with a dot'),
        (elsewhere, 'image', 'not right in a class folder'),
        (others, 'file', 'no JPEG, PNG, WebP or BMP'),
    ):
        if found:
            more = ', ...' if len(found) > SHOWN else ''
            say(f'  {plural(len(found), what)} passed over, {why}: '
                f'{", ".join(found[:SHOWN])}{more}')


def facts(config):
    """The `auto.Facts` of the images that a config names; decodes at most LOOKED_AT of them."""
    source, test = open_source(config)
    chosen = cuts.choose_rows(
        source.labels, test, config.splits.test_fraction, config.splits.validation_fraction,
        config.data.imbalance, config.splits.seed,
        splits.groups(source, test, config.splits.group_by), config.splits.fold,
    )
    counts = np.bincount(source.labels[chosen['train']], minlength=len(source.class_names))
    rows = np.linspace(0, len(source) - 1, min(LOOKED_AT, len(source))).astype(int)
    sides, grey = [], True
    for i, item in zip(rows, sources.read(source, rows), strict=True):
        if isinstance(item, BadImage):
            continue  # the data stage will name it
        if isinstance(source, EncodedSource):
            with Image.open(io.BytesIO(source.read(i)), formats=FORMATS) as image:
                sides.append(min(image.size))
        grey &= bool(np.ptp(item['image'].astype(int), axis=-1).max() <= 8)
    return auto.Facts(
        counts=np.maximum(counts, 1).tolist(),
        side=int(np.median(sides)) if sides else config.data.image_size,
        grey=grey,
        accelerator=jax.default_backend() != 'cpu',
    )


def choose_settings(configs, points, given):
    """Sets in each config with `auto` what fits its images; why, a line each.

    Args:
        points: of a sweep, what each of the configs has set. given: {field: value}, of what is
            set on the command line. Both stay as they are.
    """
    found, lines = {}, []
    for config, point in zip(configs, points, strict=True):
        if config.auto:
            images = f'{config.data}{config.splits}'
            if images not in found:  # process 0's word, as in the data stage
                fields = processes.on_main(lambda one=config: dataclasses.asdict(facts(one)))
                found[images] = auto.Facts(**fields)
            lines += auto.apply(config, found[images], given | point)
    return dict.fromkeys(lines)
