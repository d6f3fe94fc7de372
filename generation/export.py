"""Synthetic images on disk: class folders, metadata.jsonl, what was rejected and why."""

import json
import pathlib
import re

import numpy as np
from PIL import Image

REJECTED_SHOWN = 64  # rejected images kept per reason, for a look


def write(folder, rows, class_names, facts):
    """Exports all rows of `synthesize.fill`.

    images/<class>/<seed>.png with images/metadata.jsonl (the convention of Hugging Face's
    `imagefolder`), and rejected/<reason>/<class>_<seed>.png.

    Args:
        facts: what all images share (sampler, steps, guidance, checkpoint), added to each line.
    """
    folder = pathlib.Path(folder)
    images = folder / 'images'
    images.mkdir(parents=True, exist_ok=True)
    scores = [name for name in rows if name not in ('images', 'labels', 'seeds', 'reasons')]
    shown = _some_of_each_reason(rows.get('reasons', np.empty(0, str)))
    with (images / 'metadata.jsonl').open('w', encoding='utf-8') as metadata:
        for i, reason in enumerate(rows.get('reasons', ())):
            name, seed = class_names[rows['labels'][i]], int(rows['seeds'][i])
            if reason:
                if i in shown:
                    path = folder / 'rejected' / reason / f'{safe_name(name)}_{seed:08d}.png'
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(rows['images'][i]).save(path)
                continue
            file_name = f'{safe_name(name)}/{seed:08d}.png'
            (images / file_name).parent.mkdir(exist_ok=True)
            Image.fromarray(rows['images'][i]).save(images / file_name)
            values = {key: _plain(rows[key][i]) for key in scores}
            line = {'file_name': file_name, 'class': name, 'label': int(rows['labels'][i]),
                    'seed': seed, **facts, **values}  # fmt: skip
            metadata.write(json.dumps(line) + '\n')


def _some_of_each_reason(reasons):
    """Rows of rejected images, at most REJECTED_SHOWN a reason, evenly spread over all of them."""
    rows = set()
    for reason in set(reasons.tolist()) - {'', 'surplus'}:
        found = np.flatnonzero(reasons == reason)
        spread = np.linspace(0, len(found) - 1, min(len(found), REJECTED_SHOWN)).astype(int)
        rows |= set(found[spread].tolist())
    return rows


def read(folder):
    """The accepted images: (images uint8 [N, H, W, 3], labels int32 [N], file names)."""
    folder = pathlib.Path(folder) / 'images'
    lines = (folder / 'metadata.jsonl').read_text('utf-8').splitlines()
    lines = [json.loads(line) for line in lines]
    images = []
    for line in lines:
        with Image.open(folder / line['file_name'], formats=('PNG',)) as image:
            images.append(np.asarray(image))
    labels = np.array([line['label'] for line in lines], np.int32)
    return images, labels, [line['file_name'] for line in lines]


def safe_name(name):
    """A class name as one path component, on any file system: what would not do is %-encoded."""
    quoted = re.sub(r'[%/\\:*?"<>|\x00-\x1f]', lambda match: f'%{ord(match[0]):02X}', name)
    return '%2E' + quoted[1:] if quoted.startswith('.') else quoted


def _plain(value):
    """A JSON number; None for what JSON cannot say."""
    value = value.item()
    if isinstance(value, float):
        return round(value, 5) if np.isfinite(value) else None
    return value
