"""Which image is in train, validation or test: cuts, imbalance, duplicates."""

import dataclasses
import itertools

import numpy as np

from data import cuts, duplicates, sources, store, tables
from data.decode import BadImage

SPLITS = ('train', 'validation', 'test')
MOVED = 'moved to train'  # how the action on a group of copies begins that now lies there
LOOK = 6  # near copies: fewer are some photographs, encoded anew or mirrored
DISAGREE = '; labels disagree: '  # and here, of one picture in two classes
NO_COPIES = 'if they only look alike, use --config.splits.duplicate_correlation=1'


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Decoded images uint8 [N, S, S, 3], labels int32 [N] and the names of their files; where they
    have any, the groups that they belong to, '' of none.

    The images are an array or, of a set that lies on disk, `store.Rows` of one, of which
    `np.asarray` brings all to memory.

    Raises:
        ValueError: images of another kind, as floats, or not as many labels and names.
    """

    images: np.ndarray | store.Rows
    labels: np.ndarray
    names: tuple[str, ...]
    groups: tuple[str, ...] = ()

    def __post_init__(self):
        shape, dtype = self.images.shape, self.images.dtype
        if (dtype != np.uint8 or shape[1:] != (*shape[1:2] * 2, 3)
                or not shape[0] == len(self.labels) == len(self.names)
                or len(self.groups) not in (0, shape[0])):
            raise ValueError(
                f'need images uint8 [N, S, S, 3], a label and a name for each, got {dtype} '
                f'{list(shape)}, {len(self.labels)} labels and {len(self.names)} names'
            )

    def __len__(self):
        return len(self.labels)

    def take(self, rows):
        """The images at `rows` (indices or a slice), as a new set."""
        numbers = np.arange(len(self))[rows]
        names, groups = (tuple(own[i] for i in numbers) if own else ()
                         for own in (self.names, self.groups))
        return ImageSet(store.pick(self.images, rows), self.labels[rows], names, groups)

    def some(self, count):
        """`count` of the images, always the same, in order; the set itself if it has no more."""
        if len(self) <= count:
            return self
        return self.take(np.sort(np.random.default_rng(0).permutation(len(self))[:count]))


@dataclasses.dataclass(frozen=True, eq=False)
class Splits:
    """The three splits and what was noticed on the way.

    `duplicates` is a list of {'names': ['split:name', ...], 'pixels': 'equal' or 'near', 'action':
    str, 'parted': images that were moved or dropped}, `bad_images` of {'name': str, 'error': str},
    `ignored` of the names of files in the sources' folders that are no part of them.
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]
    duplicates: list = dataclasses.field(default_factory=list)
    bad_images: list = dataclasses.field(default_factory=list)
    ignored: list = dataclasses.field(default_factory=list)

    @property
    def train_counts(self):
        """Training images per class, int [C]."""
        return np.bincount(self.train.labels, minlength=len(self.class_names))

    @property
    def repeats(self):
        """Whether a training image shows a picture that another one before it shows, bool [N].

        A given test set has names of its own, and a group that holds one of its images has no other
        left in train. See `is_one_picture`.
        """
        again = np.zeros(len(self.train), bool)
        counts = self.train_counts
        row_of = {name: row for row, name in enumerate(self.train.names)}
        for entry in self.duplicates:
            rows = rows_in('train', entry, row_of)
            if is_one_picture(entry, len(rows), counts[self.train.labels[rows]].max(initial=0)):
                again[rows[1:]] = True
        return again

    @property
    def untested(self):
        """Names of the classes that have no test image, where others have."""
        lacking = _lacking(self.test, self.class_names) if len(self.test) else ()
        return [self.class_names[label] for label in lacking]

    @property
    def untested_for_copies(self):
        """Names of the classes all of whose test images were taken out as copies."""
        label_of = dict(zip(self.train.names, self.train.labels.tolist()))
        moved = {
            label_of[name] for entry in self.leaks
            if any(split == 'test' for split, _ in _members(entry))
            for _, name in _members(entry) if name in label_of
        }
        lacking = _lacking(self.test, self.class_names)
        return [self.class_names[label] for label in lacking if label in moved]

    @property
    def leaks(self):
        """The groups of copies that lay in more than one split before they were parted."""
        return [entry for entry in self.duplicates if entry['parted']]

    @property
    def contradictions(self):
        """The groups of copies whose images are of several classes."""
        return [entry for entry in self.duplicates if DISAGREE in entry['action']]


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
        group_by: images in whose names (of files) it finds the same stay in one split, and leave
            the pool where they belong to those of a test_source; see `cuts.group`. '': each is on
            its own.
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
    sets, records = part_duplicates(
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


def part_duplicates(sets, class_names, test_given, correlation, grouped=False):
    """No picture in two splits: (the new {split: ImageSet}, a record of every group of copies).

    When we cut the splits, all copies go to train. If they were `grouped` they cannot, as what they
    belong to lies elsewhere: those of one split stay, train or else test, and the others
    leave. A given test set stays as it is: its copies leave the training pool.
    """
    leave, join = ({split: [] for split in SPLITS} for _ in range(2))
    records = []
    groups = duplicates.find(
        [sets[split].images for split in SPLITS], [sets[split].labels for split in SPLITS],
        correlation,
    )
    for members, equal in groups:
        members = [(SPLITS[part], row) for part, row in members]
        found = {split for split, _ in members}
        stays = 'test' if test_given and 'test' in found else 'train'
        if grouped and stays not in found:
            stays = 'test'
        outside = [(split, row) for split, row in members if split != stays]
        if len(found) == 1:
            action, outside = f'kept: all in {members[0][0]}', []
        else:
            moves = stays == 'train' and not grouped
            action = MOVED if moves else f'dropped: one lies in {stays}'
            for split, row in outside:
                leave[split].append(row)
                if moves:
                    join[split].append(row)
        labels = sorted({class_names[sets[split].labels[row]] for split, row in members})
        if len(labels) > 1:
            action += f'{DISAGREE}{", ".join(labels)}'
        names = [f'{split}:{sets[split].names[row]}' for split, row in members]
        records.append({
            'names': names, 'pixels': 'equal' if equal else 'near', 'action': action,
            'parted': len(outside),
        })
    return _regroup(sets, leave, join), records


def _members(record):
    """[[split, name of the file]] of a group of copies, as `part_duplicates` found them."""
    return [name.split(':', 1) for name in record['names']]


def rows_in(split, record, row_of):
    """Rows of the images of a record of copies that lie in the split now; row_of: {name: row}."""
    moved = split == 'train' and record['action'].startswith(MOVED)
    return [row_of[name] for own, name in _members(record)
            if (moved or own == split) and name in row_of]


def is_one_picture(record, count, most):
    """Whether so many of a record's images show one picture, and not what their class looks like.

    Args:
        most: images of the class of which they are.
    """
    return record['pixels'] == 'equal' or count < LOOK or 2 * count <= most


def near_parted(records):
    """How many images `part_duplicates` moved or dropped that are no equal copies."""
    return sum(entry['parted'] for entry in records if entry['pixels'] == 'near')


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


def _regroup(sets, leave, join):
    """`sets` without the rows {split: rows} `leave`, and with those of `join` at train's end."""
    result = {
        split: one.take(np.setdiff1d(np.arange(len(one)), leave[split])) if leave[split] else one
        for split, one in sets.items()
    }
    if any(join.values()):
        moved = [one.take(join[split]) for split, one in sets.items()]
        parts = [part for part in (result['train'], *moved) if len(part)]
        result['train'] = ImageSet(
            store.concatenate([part.images for part in parts]),
            np.concatenate([part.labels for part in parts]),
            tuple(name for part in parts for name in part.names),
            tuple(group for part in parts for group in part.groups),
        )
    empty = result['train'].take(slice(0))  # an empty split has the shape of the others
    return {split: one if len(one) else empty for split, one in result.items()}


def _check(sets, class_names, tested, hint):
    if missing := [class_names[label] for label in _lacking(sets['train'], class_names)]:
        raise ValueError(
            f'{len(missing)} class(es) have no training image left: {missing[:5]}; add images, '
            f'lower the split fractions or remove the class{hint}'
        )
    if tested and not len(sets['test']):
        raise ValueError(f'no test image is left; give a test set, or more images a class{hint}')


def _lacking(one, class_names):
    """The numbers of the classes of which an `ImageSet` has no image."""
    return np.flatnonzero(np.bincount(one.labels, minlength=len(class_names)) == 0)
