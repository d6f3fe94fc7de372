"""Prepared sets of TensorFlow Datasets in array_record format, read without TensorFlow."""

import os
import re

import numpy as np

from data.decode import EncodedSource


def open_set(name, data_dir, image_size):
    """(training images, test or else validation images, None without these) of a prepared set.

    Args:
        name: as TFDS has it, without 'tfds:'.
        data_dir: where sets lie, or the one prepared set; empty: TFDS's own default.
        image_size: side S of the square images in pixels.

    Raises:
        FileNotFoundError, ValueError: not prepared, in a format that needs TensorFlow, or without
            training images or labels; one line that says what to run.
    """
    builder = _builder(name, data_dir)
    if 'train' not in builder.info.splits:
        raise ValueError(f'TFDS set {name!r} has no train split, only {list(builder.info.splits)}')
    train = _split(builder, 'train', image_size)
    if train is None:
        raise ValueError(f"TFDS set {name!r}: the split 'train' has no labels")
    tests = (_split(builder, split, image_size) for split in ('test', 'validation')
             if split in builder.info.splits)
    return train, next((test for test in tests if test is not None), None)


def path(name, data_dir):
    """The folder of the prepared set; raises as `open_set` does."""
    return _builder(name, data_dir).data_path


def _builder(name, data_dir):
    """The prepared set, in `data_dir` or, without it, where TFDS keeps its sets."""
    import tensorflow_datasets as tfds  # slow to import, and only this source needs it

    data_dir = os.path.expanduser(data_dir)
    prepared = os.path.isfile(os.path.join(data_dir, 'dataset_info.json'))
    target = f' --data_dir={data_dir}' if data_dir and not prepared else ''
    command = f'pip install tensorflow-cpu && tfds build {name} --file_format=array_record{target}'
    try:
        if prepared:
            builder = tfds.builder_from_directory(data_dir)
        else:  # looks on the disk only: no download, no data-set code
            lookup = tfds.core.read_only_builder.builder_from_files
            builder = lookup(name, data_dir=data_dir or None)
    except Exception as error:
        raise FileNotFoundError(
            f'no prepared TFDS set {name!r} in {data_dir or "the TFDS folder"}; run: {command}'
        ) from error
    if builder.name != (wanted := re.split('[/:]', name)[0]):
        raise ValueError(f'{data_dir} holds the TFDS set {builder.name!r}, not {wanted!r}')
    formats = {f.value for f in builder.info.available_file_formats()}
    if 'array_record' not in formats:
        raise ValueError(
            f'{builder.data_path} holds {sorted(formats)}, which only TensorFlow reads; run: '
            f'{command} --overwrite'
        )
    return builder


def _split(builder, split, image_size):
    """None without labels, as the test images of some sets are."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    if not {'image', 'label'} <= set(features) or not hasattr(features['label'], 'names'):
        raise ValueError(
            f"TFDS set {builder.name!r} needs features 'image' and 'label' (a ClassLabel); it has "
            f'{sorted(features)}'
        )
    skip = {'image': tfds.decode.SkipDecoding()}  # bytes: our own rules decode them
    records = builder.as_data_source(split=split, decoders=skip)
    labels = np.array([record['label'] for record in records], np.int32)
    if len(labels) == 0 or np.min(labels) < 0:
        return None
    return EncodedSource(
        class_names=tuple(features['label'].names),
        labels=labels,
        names=tuple(f'{split}/{i:06d}' for i in range(len(labels))),
        image_size=image_size,
        read=lambda i: records[i]['image'],
    )
