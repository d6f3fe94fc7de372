"""Which image is in train, validation or test: cut, decoded, copies parted."""

import itertools

import numpy as np

from data import cuts, parting, sources, store, tables
from data.decode import BadImage
from data.image_sets import ImageSet, Splits, lacking, near_parted

NO_COPIES = 'if they only look alike, use --config.splits.duplicate_correlation=1'


def prepare(
    train_source,
    test_source,
    *,
    test_fraction,
    validation_fraction,
    imbalance='',
    seed=0,
    fold='',
    on_bad_image='error',
    duplicate_correlation=1.0,
    group_by='',
    progress=None,
    folder=None,
):
    """Cut test (unless given), make the pool long-tailed, cut validation, part duplicates.

    Args:
        train_source, test_source: see `data.sources.Source`; test_source may be None.
        test_fraction: part of each class, in [0, 1); ignored when there is a test_source.
        validation_fraction: part of each class of the remaining pool, in [0, 1).
        imbalance: see `cuts.long_tail`.
        on_bad_image: 'error' raises `BadImage`, 'skip' leaves the image out and notes it.
        duplicate_correlation: see `duplicates.find`.
        group_by: images in whose names (of files) it finds the same, or that the source says are of
            one group, stay in one split, and leave the pool where they belong to those of a
            test_source; see `cuts.group`. '': each is on its own, if the source says nothing.
        progress: called as progress(images done, images in all).
        seed: of the cuts, and of which images a long tail keeps.
        fold: which part is the test set, instead of a test_fraction; see `cuts.parse_fold`.
        folder: where the decoded images are put, for sets larger than memory; None: memory.
    Returns:
        A `Splits`.

    Raises:
        BadImage: with on_bad_image='error', an image cannot be used.
        ValueError: an argument out of its range, fewer than two classes, a class without training
            images, or no test image where there was to be one.
        OSError: `folder` has no room.
    """
    if on_bad_image not in ('error', 'skip'):
        raise ValueError(f"on_bad_image is 'error' or 'skip', not {on_bad_image!r}")
    belonging = groups(train_source, test_source, group_by)
    rows = cuts.choose_rows(
        train_source.labels, test_source, test_fraction, validation_fraction, imbalance, seed,
        belonging, fold,
    )
    total, done = sum(map(len, rows.values())), itertools.count(1)
    step = progress and (lambda: progress(next(done), total))
    bad = [] if on_bad_image == 'skip' else None
    given = {} if test_source is None else {'test': rows.pop('test')}
    place = (lambda name: folder / name) if folder else (lambda name: None)
    sets = _decode(train_source, rows, step, bad, place('images.npy'))  # only now
    if given:
        sets |= _decode(test_source, given, step, bad, place('test_images.npy'))
    class_names = tuple(train_source.class_names)
    sets, records = parting.part_duplicates(
        sets, class_names, test_source is not None, duplicate_correlation,
        grouped=belonging is not None,
    )
    tested = test_source is not None or fold or test_fraction > 0
    kept_by = keeper(train_source, group_by)
    _check(sets, class_names, tested, missing_hint(records, bad or [], kept_by))
    ignored = [name for source in (train_source, test_source)
               for name in getattr(source, 'ignored', ())]
    return Splits(**sets, class_names=class_names, duplicates=records, bad_images=bad or [],
                  ignored=ignored)


def groups(train_source, test_source, group_by):
    """`cuts.group` of all images, those of the test source last, if there is one.

    Raises:
        ValueError: `group_by` is no regular expression, the images have no names, or groups too.
    """
    sources = [train_source] if test_source is None else [train_source, test_source]
    given = [getattr(source, 'groups', ()) for source in sources]
    names = [name for source in sources for name in getattr(source, 'names', ())]
    if any(given):
        if group_by:
            raise ValueError(
                f'config.splits.group_by={group_by!r} goes by the names of files, and a table has '
                f'a column {tables.GROUP}; leave it empty, or call the column something else'
            )
        given = [own or [''] * len(source) for own, source in zip(given, sources, strict=True)]
    elif group_by and len(names) < sum(map(len, sources)):
        raise ValueError(
            f'config.splits.group_by={group_by!r} goes by the names of files, and these images '
            'have none; leave it empty'
        )
    return cuts.group(names, group_by, list(itertools.chain(*given)))


def keeper(images, group_by):
    """What keeps groups of a source's or an `ImageSet`'s images together, in words; '': nothing."""
    if getattr(images, 'groups', ()):
        return f'the column {tables.GROUP} of the table'
    return f'config.splits.group_by={group_by!r}' if group_by else ''


def _decode(source, rows, progress, bad_images, path):
    """{split: ImageSet} of `rows`, {split: row numbers of the source}, each image decoded once.

    Args:
        progress: called after each image.
        bad_images: a list that takes {'name', 'error'} of each unusable image; None raises.
        path: of the file that holds them all; None: memory.
    """
    names, groups, label_of, split_of = [], [], [], []
    given = getattr(source, 'groups', ())
    out = store.Writer(path, sum(map(len, rows.values())))
    owners = (split for split, numbers in rows.items() for _ in numbers)
    items = sources.read(source, np.concatenate(list(rows.values())))
    for split, item in zip(owners, items, strict=True):
        if isinstance(item, BadImage):
            if bad_images is None:
                raise item
            bad_images.append({'name': item.name, 'error': item.reason})
        else:
            out.add(item['image'])
            names.append(item['name'])
            if given:
                groups.append(given[item['index']])
            label_of.append(item['label'])
            split_of.append(split)
        if progress:
            progress()
    images, labels, splits = out.finish(), np.array(label_of, np.int32), np.array(split_of, object)
    found = {split: np.flatnonzero(splits == split) for split in rows}
    return {
        split: ImageSet(
            store.Rows(images, at), labels[at], tuple(names[i] for i in at),
            tuple(groups[i] for i in at) if groups else ())
        for split, at in found.items()
    }


def missing_hint(records, bad_images, kept_by):
    """For a message on missing images: what keeps them together, a `keeper`, and how many are
    unusable or were taken out as copies."""
    hint = f'; {kept_by} keeps groups in one split' if kept_by else ''
    if bad_images:
        first = bad_images[0]
        hint += (f'; unusable images: {len(bad_images)}, the first {first["name"]}: '
                 f'{first["error"]}')
    parted = [entry for entry in records if entry['parted']]
    if not parted:
        return hint
    count, names = sum(entry['parted'] for entry in parted), parted[0]['names']
    way_out = f': {NO_COPIES}' if near_parted(records) else ''
    return (f'{hint}; {count} images were taken out as copies, as of {names[0]} and {names[1]}'
            f'{way_out}')


def _check(sets, class_names, tested, hint):
    if missing := [class_names[label] for label in lacking(sets['train'], class_names)]:
        raise ValueError(
            f'{len(missing)} class(es) have no training image left: {missing[:5]}; add images, '
            f'lower the split fractions or remove the class{hint}'
        )
    if tested and not len(sets['test']):
        raise ValueError(f'no test image is left; give a test set, or more images a class{hint}')
