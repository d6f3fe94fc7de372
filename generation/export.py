"""Synthetic images on disk: class folders, metadata.jsonl, what was rejected and why; as a set of
TensorFlow Datasets, too.
"""

import contextlib
import io
import json
import pathlib
import re
import tempfile
import urllib.parse

import numpy as np
from PIL import Image

REJECTED_SHOWN = 64  # rejected images kept per reason, for a look


def write(folder, rows, class_names, facts):
    """Exports the accepted images of `synthesize.fill`, and some rejected ones.

    images/<class>/<seed>.png with images/metadata.jsonl (the convention of Hugging Face's
    `imagefolder`), and rejected/<reason>/<class>_<seed>.png, REJECTED_SHOWN a
    reason at most. Surplus images are not kept.

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
                    'seed': seed, **facts, **values}
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
    """The accepted images: ([uint8 [H, W, 3], ...], labels int32 [N], [file name, ...]).

    Raises:
        OSError: one of them is missing or damaged.
    """
    folder = pathlib.Path(folder) / 'images'
    lines, images = _metadata(folder), []
    for line in lines:
        try:
            with Image.open(folder / line['file_name'], formats=('PNG',)) as image:
                images.append(np.asarray(image))
        except OSError as error:
            raise OSError(
                f'{folder / line["file_name"]} is missing or damaged; delete {folder.parent} and '
                'give the command again'
            ) from error
    labels = np.array([line['label'] for line in lines], np.int32)
    return images, labels, [line['file_name'] for line in lines]


def read_rejected(folder, reason, count):
    """Up to `count` images rejected for `reason`, spread over the classes.

    [(class name, uint8 [H, W, 3]), ...], of those that `write` has kept.
    """
    paths = sorted((pathlib.Path(folder) / 'rejected' / reason).glob('*.png'))
    found = []
    for i in np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int):
        with Image.open(paths[i], formats=('PNG',)) as image:
            name = urllib.parse.unquote(paths[i].stem.rsplit('_', 1)[0])
            found.append((name, np.asarray(image)))
    return found


def write_tfds(folder, out, class_names):
    """The accepted images as the TensorFlow Datasets set out/synthetic/1.0.0, in array_record.

    `tfds.data_source('synthetic', split='train', data_dir=out)` reads it without TensorFlow.

    Returns:
        The number of images.

    Raises:
        ValueError: there are none.
    """
    import tensorflow_datasets as tfds  # slow to import, and only this needs it

    images = pathlib.Path(folder) / 'images'
    lines = _metadata(images)
    if not lines:
        raise ValueError(f'{images} holds no images: the quality check kept none')
    with Image.open(images / lines[0]['file_name'], formats=('PNG',)) as first:
        shape = (first.height, first.width, 3)

    with tfds.core.registered.skip_registration():

        class Synthetic(tfds.core.GeneratorBasedBuilder):
            """Images drawn by a diffusion model, and kept by a quality check."""

            VERSION = tfds.core.Version('1.0.0')
            url_infos = {}  # nothing to download; found by a package that TFDS does not require

            def _info(self):
                features = {
                    'image': tfds.features.Image(shape=shape, encoding_format='png'),
                    'label': tfds.features.ClassLabel(names=list(class_names)),
                    'seed': np.int64,
                    'file_name': tfds.features.Text(),
                }
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict(features),
                    description=self.__doc__, disable_shuffling=True,
                )

            def _split_generators(self, dl_manager):
                return {'train': self._generate_examples()}

            def _generate_examples(self):
                for i, line in enumerate(lines):
                    example = {key: line[key] for key in ('label', 'seed', 'file_name')}
                    # encoded bytes: pixels would be encoded by TensorFlow
                    data = (images / line['file_name']).read_bytes()
                    yield i, example | {'image': io.BytesIO(data)}

    again = tfds.GenerateMode.REUSE_CACHE_IF_EXISTS  # in place of an earlier one
    tfds.disable_progress_bar()
    with (
        tempfile.TemporaryDirectory() as downloads,
        contextlib.redirect_stdout(io.StringIO()),  # it speaks of a download
    ):
        Synthetic(data_dir=out, file_format='array_record').download_and_prepare(
            download_dir=downloads,
            download_config=tfds.download.DownloadConfig(
                download_mode=again, try_download_gcs=False
            ),
        )
    return len(lines)


def _metadata(folder):
    """The lines of metadata.jsonl, whose files lie in `folder`."""
    path = folder / 'metadata.jsonl'
    try:
        lines = [json.loads(line) for line in path.read_text('utf-8').splitlines()]
        outside = [line for line in lines if '..' in pathlib.PurePath(line['file_name']).parts
                   or pathlib.PurePath(line['file_name']).is_absolute()]
    except (ValueError, LookupError, TypeError) as error:
        outside = [error]
    if outside:
        raise OSError(f'{path} is damaged; delete {folder.parent} and give the command again')
    return lines


def safe_name(name):
    """A class name as one path component: what systems give a meaning is %-encoded."""
    quoted = re.sub(r'[%/\\:*?"<>|\x00-\x1f]', lambda match: f'%{ord(match[0]):02X}', name)
    return '%2E' + quoted[1:] if quoted.startswith('.') else quoted


def _plain(value):
    """A JSON number; None for what JSON cannot say."""
    value = value.item()
    if isinstance(value, float):
        return round(value, 5) if np.isfinite(value) else None
    return value
