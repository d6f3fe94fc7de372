"""What must be set before JAX starts, and the smallest settings that still run every line."""

import fcntl
import io
import json
import os
import pathlib
import subprocess
import sys
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that a bare `pytest` works as well
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['XLA_FLAGS'] = ' '.join([
    '--xla_force_host_platform_device_count=8',
    '--xla_cpu_multi_thread_eigen=false',
    '--xla_backend_optimization_level=0',  # compiling is nearly all that these tests wait for
])
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(ROOT / '.jax_cache'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.2')
os.environ.setdefault('MPLBACKEND', 'Agg')
os.environ.setdefault('OMP_NUM_THREADS', '1')

import forked  # noqa: E402
import ml_collections  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from PIL import Image  # noqa: E402
from rich.console import Console  # noqa: E402

from configs import augmented, default  # noqa: E402
from data import image_sets  # noqa: E402
from train import progress  # noqa: E402


@pytest.fixture(scope='session')
def clean_env():
    """The environment of a user's process: this repository, no XLA flags of ours."""
    env = {name: value for name, value in os.environ.items() if name != 'XLA_FLAGS'}
    return env | {'PYTHONPATH': str(ROOT), 'COLUMNS': '100'}


@pytest.fixture(scope='session')
def env(clean_env):
    """That, and code that is compiled in less time and runs in more."""
    return clean_env | {'XLA_FLAGS': '--xla_backend_optimization_level=0'}


@pytest.fixture(scope='session')
def forks(env):
    """(commands, at_once=1) -> what `forked.main` returns of each, with all that a run imports."""
    later = 'sklearn.datasets', 'matplotlib.figure', 'matplotlib.backends.backend_agg'
    with forked.program(env, ROOT, *later) as run:
        yield run


@pytest.fixture(scope='session')
def again(forks):
    """flags -> how main.py ends with them."""
    return lambda flags: subprocess.CompletedProcess(flags, *forks([flags])[0][:3])


@pytest.fixture(scope='session')
def once(tmp_path_factory):
    """(name, make) -> what make() returns, JSON data; of several workers the first one makes it."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if 'PYTEST_XDIST_WORKER' in os.environ else folder

    def get(name, make):
        made = folder / f'{name}.json'
        with (folder / f'{name}.lock').open('w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                made.write_text(json.dumps(make()), 'utf-8')
        return json.loads(made.read_text('utf-8'))

    return get


@pytest.fixture(scope='session')
def tiny_config():
    """(**{'generator.steps': 3, ...}) -> a whole frozen config with the smallest networks."""
    smallest = {
        'data.image_size': 8,
        'generator.steps': 2, 'generator.batch_size': 8, 'generator.channels': 8,
        'generator.multipliers': (1,), 'generator.attention': (False,), 'generator.blocks': 1,
        'generator.warmup_steps': 0, 'generator.log_every': 1, 'generator.validate_every': 2,
        'generator.save_every': 2, 'generator.dtype': 'float32', 'synthesis.fill': 'largest',
        'classifier.steps': 2, 'classifier.batch_size': 8, 'classifier.widths': (4,),
        'classifier.hidden': 8, 'classifier.log_every': 1, 'classifier.validate_every': 2,
        'classifier.save_every': 2, 'classifier.dtype': 'float32',
    }

    def make(**fields):
        config = default.get_config()
        with config.ignore_type():
            config.update_from_flattened_dict(smallest)
            config.judge = default.judge(config.classifier)
            config.update_from_flattened_dict(fields)
        return ml_collections.FrozenConfigDict(config)

    return make


@pytest.fixture
def config(tmp_path):
    """Two classes of 12 and 20 grey images of 40 pixels: one broken, one twice."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / 'images.zip', 'w') as archive:
        for name, count in (('rare', 12), ('common', 20)):
            for i in range(count):
                file = io.BytesIO()
                grey = rng.integers(0, 256, (40, 50), np.uint8)
                Image.fromarray(grey).save(file, 'PNG')
                data = b'no image' if (name, i) == ('common', 3) else file.getvalue()
                archive.writestr(f'{name}/{i}.png', data)
                if (name, i) == ('rare', 5):
                    archive.writestr('rare/again.png', data)
    config = augmented.get_config('folder')
    config.data.train = str(tmp_path / 'images.zip')
    return config


@pytest.fixture
def heard(monkeypatch):
    """A file that has what is said."""
    console = Console(file=io.StringIO(), width=200, soft_wrap=True)
    monkeypatch.setattr(progress, '_console', console)
    return console.file


@pytest.fixture(scope='session')
def fake_images():
    """(size, classes, seed) -> ImageSet of 8x8 noise around a grey level of its class's own."""

    def make(size=8, classes=2, seed=0):
        rng = np.random.default_rng(seed)
        labels = (np.arange(size) % classes).astype(np.int32)
        level = np.linspace(60, 195, classes)[labels][:, None, None, None]
        images = np.clip(rng.normal(level, 25, (size, 8, 8, 3)), 0, 255).astype(np.uint8)
        return image_sets.ImageSet(images, labels, tuple(f'{i}.png' for i in range(size)))

    return make
