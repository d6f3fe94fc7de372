"""The same run on 1 and on 8 devices: parameters within 1e-5 after a few steps."""

import subprocess
import sys

import numpy as np
import pytest

TRAIN = '''
import sys
from train import parallel
parallel.set_up(int(sys.argv[1]))
import jax, numpy as np, jax.numpy as jnp, optax
from data import image_sets, pipeline
from models import cnn, resnet
from train import classifier, generator, state
from ml_collections import FrozenConfigDict
from configs import default

assert jax.device_count() == int(sys.argv[1])
config = default.get_config()
with config.ignore_type():
    config.update_from_flattened_dict({
        'generator.channels': 16, 'generator.blocks': 1, 'generator.multipliers': (1,),
        'generator.attention': (False,), 'generator.dropout': 0.1,
        'generator.augment_flip': True, 'classifier.augment': 'flip_shift',
        'classifier.dropout': 0.5,
    })
config = FrozenConfigDict(config)
rng = np.random.default_rng(0)
images = image_sets.ImageSet(rng.integers(0, 256, (24, 8, 8, 3), np.uint8),
                             np.arange(24, dtype=np.int32) % 2, ('',) * 24)

g = generator.make_model(config.generator, 2)
c = cnn.CNN(2, (4,), 8, 0.5, 3)
r = resnet.ResNet32(2, width=4, blocks=1, axis_name=parallel.AXIS)
# plain gradient descent: Adam divides rounding errors by rounding errors where a gradient is 0
sgd = state.guarded(optax.sgd(0.05))
runs = {
    'unet': (generator.initial_state(g, sgd, config.generator, (8, 8, 3)),
             generator.make_loss(g, config.generator)),
    'cnn': (classifier.initial_state(c, sgd, config.classifier, (8, 8, 3), 0),
            classifier.make_loss(c, config.classifier)),
    'resnet': (classifier.initial_state(r, sgd, config.classifier, (8, 8, 3), 0),
               classifier.make_loss(r, config.classifier)),
}
out = {}
for name, (current, loss) in runs.items():
    step = state.make_step(loss, sgd, ema_decay=0.9)
    stream = pipeline.train_batches([images], [1.0], batch_size=16, seed=0)
    current = current.make()
    for _ in range(5):
        current, metrics = step(current, parallel.shard(next(stream)))
    parts = {'params': current.params, 'ema': current.ema, 'model_state': current.model_state}
    for path, leaf in jax.tree_util.tree_leaves_with_path({**parts, 'metrics': metrics}):
        out[name + jax.tree_util.keystr(path)] = np.asarray(leaf)
np.savez(sys.argv[2], **out)
'''


@pytest.fixture(scope='module')
def results(tmp_path_factory, clean_env):
    folder = tmp_path_factory.mktemp('devices')
    env = clean_env | {'XLA_FLAGS': '--xla_backend_optimization_level=0'}
    processes = [
        subprocess.Popen([sys.executable, '-c', TRAIN, str(devices), f'{folder}/{devices}.npz'],
                         env=env, cwd=folder)
        for devices in (1, 8)
    ]
    assert [process.wait(300) for process in processes] == [0, 0]
    return [dict(np.load(folder / f'{devices}.npz')) for devices in (1, 8)]


@pytest.mark.parametrize('network', ['unet', 'cnn', 'resnet'])
def test_the_number_of_devices_changes_nothing(results, network):
    one, eight = ({k: v for k, v in r.items() if k.startswith(network)} for r in results)
    assert one.keys() == eight.keys() and any('params' in name for name in one)
    assert network != 'resnet' or any('batch_stats' in name for name in one)
    for name, values in one.items():
        np.testing.assert_allclose(values, eight[name], rtol=1e-5, atol=1e-5, err_msg=name)
