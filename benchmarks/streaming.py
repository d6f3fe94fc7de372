"""Does a set that is larger than one would hold in memory fit? A whole run from a large zip.

    python -m benchmarks.streaming [--images=100000] [--side=64]

Makes a zip of JPEGs in ten classes, runs the experiment on it with a few training steps, and reads
from /proc how much memory the run held: its own, and the mapped files', which the system takes back
when it needs it. Linux only.
"""

import io
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

import numpy as np
from PIL import Image

from benchmarks import children, common, steps

CLASSES, SOME = 10, 4096  # SOME: images made at a time
SYNTHETIC = HELD_OUT = 2000  # images to draw, and at most to hold out for each purpose
FIELDS = {
    'generator.steps': 300, 'generator.warmup_steps': 5, 'generator.validate_every': 300,
    'generator.save_every': 300, 'generator.sample_every': 0, 'synthesis.steps': 8,
    'synthesis.rounds': 1, 'quality.min_relevance': 0.0, 'quality.max_distance_quantile': 1.0,
    'quality.copy_ratio': 0.0, 'quality.min_contrast': 0.0, 'quality.max_saturated': 1.0,
    'classifier.seeds': 1, 'classifier.steps': 100, 'classifier.validate_every': 100,
    'classifier.save_every': 100,
}


def write_zip(path, count, side):
    """`count` JPEGs of shapes in their class's colour, as class_<k>/<number>.jpg."""
    colours = np.random.default_rng(0).integers(96, 256, (CLASSES, 3)) / 255
    with zipfile.ZipFile(path, 'w') as archive:
        for i in range(count):
            if i % SOME == 0:
                shapes = steps.pictures(min(SOME, count - i), side, seed=i)
            file = io.BytesIO()
            image = (shapes[i % SOME] * colours[i % CLASSES]).astype(np.uint8)
            Image.fromarray(image).save(file, 'JPEG')
            archive.writestr(f'class_{i % CLASSES}/{i:07d}.jpg', file.getvalue())


def held(pid, peaks, done):
    """Keeps the peaks of the process's memory, MB, by kind, until it is done."""
    while not done.wait(0.05):
        try:
            status = pathlib.Path(f'/proc/{pid}/status').read_text()
        except OSError:
            return
        fields = dict(line.split(':', 1) for line in status.splitlines())
        for kind in ('VmRSS', 'RssAnon', 'RssFile'):
            if kind in fields:
                peaks[kind] = max(peaks.get(kind, 0), int(fields[kind].split()[0]) / 1024)


def run(archive, workdir, side, count):
    """(peaks of memory by kind, seconds of the stages, seconds in all) of a run on the zip."""
    part = min(0.02, HELD_OUT / count)
    settings = FIELDS | {
        'data.train': archive, 'data.image_size': side,
        'splits.test_fraction': part, 'splits.validation_fraction': part,
        'synthesis.fill': round(count / CLASSES * (1 - part) ** 2) + SYNTHETIC // CLASSES,
    }
    command = [
        sys.executable, 'main.py', '--config=configs/augmented.py:folder', f'--workdir={workdir}',
        *(f'--config.{name}={value}' for name, value in settings.items()),
    ]
    peaks, done, start = {}, threading.Event(), time.monotonic()
    process = subprocess.Popen(command, cwd=children.ROOT, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    watcher = threading.Thread(target=held, args=(process.pid, peaks, done))
    watcher.start()
    _, errors = process.communicate()
    done.set()
    watcher.join()
    if process.returncode:
        raise RuntimeError(f'the run ended with status {process.returncode}: {errors[-500:]}')
    seconds = json.loads((workdir / 'report' / 'metrics.json').read_text('utf-8'))['seconds']
    return peaks, seconds, time.monotonic() - start


def measure(count, side, folder):
    """One row of the table."""
    archive = folder / 'images.zip'
    write_zip(archive, count, side)
    peaks, seconds, total = run(archive, folder / 'run', side, count)
    return {
        'images': count, 'side': side, 'decoded_mb': count * side * side * 3 / 2**20,
        'peak_mb': peaks['VmRSS'], 'own_mb': peaks['RssAnon'], 'mapped_mb': peaks['RssFile'],
        'data_s': seconds['data'], 'images_per_s_decoded': count / max(seconds['data'], 0.1),
        'whole_run_s': total,
    }


def main():
    options = common.arguments(__doc__.splitlines()[0], images=100_000, side=64)
    notes, rows = [common.load()], []
    for count in (options.images // 10, options.images):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(count, options.side, pathlib.Path(folder)))
    common.report('streaming', rows, out=options.out, notes=notes,
                  title='A whole run from a zip, with few training steps')


if __name__ == '__main__':
    main()
