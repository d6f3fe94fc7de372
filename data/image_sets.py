"""Labelled images in memory or on disk: a set of them, and the three splits of a run."""

import dataclasses

import numpy as np

from data import store

SPLITS = ('train', 'validation', 'test')
MOVED = 'moved to train'  # how the action on a group of copies begins that now lies there
LOOK = 6  # near copies: fewer are some photographs, encoded anew or mirrored
DISAGREE = '; labels disagree: '  # and here, of one picture in two classes


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
                f'need images uint8 [N, S, S, 3], a label and a name for each, maybe a group, got '
                f'{dtype} {list(shape)}, {len(self.labels)} labels, {len(self.names)} names and '
                f'{len(self.groups)} groups'
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
        none = lacking(self.test, self.class_names) if len(self.test) else ()
        return [self.class_names[label] for label in none]

    @property
    def untested_for_copies(self):
        """Names of the classes all of whose test images were taken out as copies."""
        label_of = dict(zip(self.train.names, self.train.labels.tolist()))
        moved = {
            label_of[name] for entry in self.leaks
            if any(split == 'test' for split, _ in _members(entry))
            for _, name in _members(entry) if name in label_of
        }
        return [self.class_names[label] for label in lacking(self.test, self.class_names)
                if label in moved]

    @property
    def leaks(self):
        """The groups of copies that lay in more than one split before they were parted."""
        return [entry for entry in self.duplicates if entry['parted']]

    @property
    def contradictions(self):
        """The groups of copies whose images are of several classes."""
        return [entry for entry in self.duplicates if DISAGREE in entry['action']]


def _members(record):
    """[[split, name of the file]] of a group of copies, as `parting` found them."""
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
    """How many images `parting` moved or dropped that are no equal copies."""
    return sum(entry['parted'] for entry in records if entry['pixels'] == 'near')


def lacking(one, class_names):
    """The numbers of the classes of which an `ImageSet` has no image."""
    return np.flatnonzero(np.bincount(one.labels, minlength=len(class_names)) == 0)
