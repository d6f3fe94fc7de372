"""From what the config names as images to train, validation and test."""

import os

from data import sources, splits
from data.decode import BadImage
from eval import figures
from generation import export
from train.progress import progress, say

SHOWN = 3  # names of files that are passed over
NEAR = 0.05  # share of the held-out images that may be near copies before the user is asked


def prepare_data(folder, config):
    """Decodes every image once and cuts train, validation and test."""
    with progress('images') as update:
        parts = read_splits(config, progress=update, folder=folder.resolve())
    splits.save(parts, folder)
    counts = parts.train_counts
    (folder / 'class_counts.png').write_bytes(figures.class_counts(parts.class_names, counts))
    say(
        f'  {len(counts)} classes, {counts.min()} to {counts.max()} training images each; '
        f'{len(parts.train)} train, {len(parts.validation)} validation, {len(parts.test)} test; '
        f'{len(parts.duplicates)} groups of duplicates'
        + (f', {len(parts.leaks)} of them across splits: parted' if parts.leaks else '')
    )
    if bad := parts.bad_images:
        say(f'  {len(bad)} unusable images left out, see data/bad_images.json; the first: '
            f'{bad[0]["name"]}: {bad[0]["error"]}')
    near = splits.near_parted(parts.duplicates)
    if near > NEAR * (len(parts.validation) + len(parts.test)):
        say(f'  {near} images were taken for copies, see data/duplicates.json; {splits.NO_COPIES}')


def data_reads(config):
    """What the data depend on, besides the images: however a path is written."""
    data = config.data.to_dict()
    for field in ('train', 'test'):
        if data[field]:
            data[field] = os.path.normpath(os.path.expanduser(data[field]))
    return {'data': data, 'splits': config.splits}


def open_source(config):
    """(training pool, test source or None) that the config names; see `sources.open_source`."""
    return sources.open_source(
        config.data.source, image_size=config.data.image_size, train=config.data.train,
        test=config.data.test, seed=config.data.seed,
    )  # fmt: skip


def read_splits(config, **options):
    """The `Splits` that the config describes; `options` go to `splits.prepare`."""
    train, test = open_source(config)
    if strange := [name for name in train.class_names if {'\n', '\r'} & set(name)]:
        raise ValueError(f'the class name {strange[0]!r} has a line break in it; rename its folder')
    if long := [name for name in train.class_names if len(export.safe_name(name).encode()) > 200]:
        raise ValueError(
            f'the class name {long[0][:40]!r}... is too long for the names of its synthetic '
            'images; give its folder one of up to 200 bytes (signs such as : count three)'
        )
    for source in (train, test):
        say_ignored(source)
    try:
        parts = splits.prepare(
            train, test, test_fraction=config.splits.test_fraction,
            validation_fraction=config.splits.validation_fraction, imbalance=config.data.imbalance,
            seed=config.splits.seed, on_bad_image=config.data.on_bad_image,
            duplicate_correlation=config.splits.duplicate_correlation, **options,
        )  # fmt: skip
    except BadImage as error:
        raise ValueError(
            f'{error}; mend or remove it, or give --config.data.on_bad_image=skip, which leaves '
            'such images out; --mode=doctor lists them'
        ) from error
    if not len(parts.validation):
        raise ValueError(
            'no class has an image to spare for validation; give 3 or more a class, or 2 and a '
            f'config.data.test{splits.copies_hint(parts.duplicates)}'
        )
    return parts


def say_ignored(source, where=' right in a class folder'):
    """Names the files in a source's folder that are no part of it."""
    if ignored := getattr(source, 'ignored', ()):
        more = ', ...' if len(ignored) > SHOWN else ''
        say(f'  {len(ignored):,} file{"s" * (len(ignored) > 1)} passed over, as no JPEG, PNG, '
            f'WebP or BMP{where}: {", ".join(ignored[:SHOWN])}{more}')
