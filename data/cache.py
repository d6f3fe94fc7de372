"""The three splits on disk: decoded images, and which of them lies where."""

import json
import pathlib

import numpy as np

from data import duplicates, store
from data.image_sets import SPLITS, ImageSet, Splits

_IF_ANY = 'bad_images', 'ignored'  # lists that have a file only where they are not empty


def save(parts, folder):
    """Write the images, splits.json, duplicates.json and, if any, bad_images.json, ignored.json."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    listed = {'class_names': parts.class_names, 'counts': {}, 'images': {}}
    if any(getattr(parts, split).groups for split in SPLITS):
        listed['groups'] = {split: getattr(parts, split).groups for split in SPLITS}
    for split in SPLITS:
        one = getattr(parts, split)
        listed['images'][split] = store.save(folder, split, one.images)
        counts = np.bincount(one.labels, minlength=len(parts.class_names))
        listed['counts'][split] = dict(zip(parts.class_names, counts.tolist()))
        listed[split] = [
            [name, duplicates.digest(image), int(label)]
            for name, image, label in zip(one.names, one.images, one.labels)
        ]
    (folder / 'splits.json').write_text(json.dumps(listed, indent=1))
    (folder / 'duplicates.json').write_text(json.dumps(parts.duplicates, indent=1))
    for name in _IF_ANY:
        if found := getattr(parts, name):
            (folder / f'{name}.json').write_text(json.dumps(found, indent=1))


def _if_any(folder, name):
    path = folder / f'{name}.json'
    return json.loads(path.read_text('utf-8')) if path.exists() else []


def listing(folder):
    """The splits.json that `save` wrote: {split: [[name, digest, label] of each image], 'groups':
    {split: [group of each image]} if there are any}, and more.

    Raises:
        FileNotFoundError: there is none. ValueError: it is damaged.
    """
    path = pathlib.Path(folder) / 'splits.json'
    try:
        found = json.loads(path.read_text('utf-8'))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not found.keys() >= {*SPLITS}:
        raise ValueError(f'{path} is damaged; delete it and run again')
    return found


def digests(folder):
    """{split: set of the pixels' digests of its images} of what `save` wrote."""
    listed = listing(folder)
    return {split: {digest for _, digest, _ in listed[split]} for split in SPLITS}


def load(folder):
    """What `save` wrote, with the images memory-mapped.

    Raises:
        ValueError: a file is missing or damaged.
    """
    folder = pathlib.Path(folder)
    try:
        listed, sets = listing(folder), {}
        for split in SPLITS:
            whole = {'file': f'{split}_images.npy', 'rows': None}  # as older runs have it
            images = store.load(folder, listed.get('images', {}).get(split, whole))
            names, _, labels = zip(*listed[split], strict=True) if listed[split] else ((),) * 3
            if len(images) != len(names):
                raise ValueError(f'{split} has {len(images)} images and {len(names)} names')
            if not all(0 <= label < len(listed['class_names']) for label in labels):
                raise ValueError(f'{split} has labels of no class')
            groups = tuple(listed.get('groups', {}).get(split, ()))
            sets[split] = ImageSet(images, np.array(labels, np.int32), names, groups)
        bad_images, ignored = (_if_any(folder, name) for name in _IF_ANY)
        return Splits(
            **sets,
            class_names=tuple(listed['class_names']),
            duplicates=json.loads((folder / 'duplicates.json').read_text()),
            bad_images=bad_images,
            ignored=ignored,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f'damaged data cache ({error}); delete it and run again'
        raise ValueError(f'{folder}: {problem}') from error
