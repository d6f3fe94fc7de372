import subprocess
import sys
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train import parallel


def test_eight_devices():
    assert parallel.device_count() == 8
    assert [parallel.round_up(size) for size in (1, 8, 9)] == [8, 8, 16]
    assert parallel.process() == (0, 1) and parallel.is_main()
    assert '8 x cpu' in parallel.describe()


@pytest.mark.parametrize('kind', [RuntimeError, AssertionError])
def test_a_device_that_is_not_there_is_said_in_one_line(monkeypatch, kind):
    monkeypatch.setenv('JAX_PLATFORMS', 'tpu')
    monkeypatch.setattr(jax, 'devices', mock.Mock(side_effect=kind("Unknown backend: 'tpu'\n...")))
    with pytest.raises(ValueError, match="JAX_PLATFORMS='tpu'.: Unknown backend: 'tpu'; unset it"):
        parallel.describe()


def test_shard_and_back():
    batch = {'image': np.arange(16 * 2 * 3).reshape(16, 2, 3), 'label': np.arange(16)}
    sharded = parallel.shard(batch)
    assert sharded['image'].shape == (8, 2, 2, 3) and sharded['label'].shape == (8, 2)
    np.testing.assert_array_equal(sharded['label'][3], [6, 7])
    for name, found in parallel.unshard(sharded).items():
        np.testing.assert_array_equal(found, batch[name])
    assert isinstance(parallel.unshard(jnp.zeros((8, 2))), np.ndarray)


def test_mapped_keeps_the_order_of_the_batch():
    add = parallel.mapped(lambda offset, x: x + offset)
    x = np.arange(24)
    np.testing.assert_array_equal(parallel.unshard(add(100, parallel.shard(x))), x + 100)


def test_replicated_state_is_on_every_device_and_has_no_device_axis():
    tree = {'w': np.arange(6.0).reshape(2, 3), 'n': np.int32(4)}
    replicated = parallel.replicate(tree)
    for name, leaf in replicated.items():
        np.testing.assert_array_equal(leaf, tree[name])
        assert len(leaf.sharding.device_set) == 8 and leaf.is_fully_replicated


def test_replicated_state_lies_as_a_step_returns_it_so_that_the_step_is_compiled_once():
    step = parallel.train_step(lambda state, x: (state + x.sum(), x.sum()))
    first = parallel.replicate(np.ones(3))
    second, _ = step(first, parallel.shard(np.ones(8)))
    assert second.sharding == parallel.replicate(np.ones(3)).sharding and first.is_deleted()


def test_each_device_has_memory_of_its_own_in_a_replicated_state():
    room = np.zeros(2**12, np.float32)
    aligned = room[-room.ctypes.data % 64 // 4 :][:64]  # JAX would not copy that
    on_device = jax.device_put(aligned)
    for tree in (aligned, on_device, parallel.replicate(aligned)):
        copies = parallel.replicate([tree, tree])
        places = {x.data.unsafe_buffer_pointer() for a in copies for x in a.addressable_shards}
        assert len(places) == 16 and aligned.ctypes.data not in places


def test_replicated_state_is_a_copy():
    host, device = np.arange(4096.0), jnp.arange(4096.0)
    step = parallel.train_step(lambda state, x: (state + x.sum(), x.sum()))
    for tree in (host, device):
        step(parallel.replicate(tree), parallel.shard(np.ones(8)))
        np.testing.assert_array_equal(tree, np.arange(4096.0))  # not donated with the copy


def test_positions_number_the_global_batch():
    places = parallel.mapped(lambda _, x: parallel.positions(len(x)))
    found = parallel.unshard(places(0, parallel.shard(np.zeros(24))))
    np.testing.assert_array_equal(found, np.arange(24))


def test_mean_is_over_all_devices():
    step = parallel.train_step(lambda state, x: (state + 1, parallel.mean({'x': x.mean()})))
    x = np.random.default_rng(0).standard_normal(16).astype('f4')
    state, means = step(parallel.replicate(np.float32(1)), parallel.shard(x))
    assert float(means['x']) == pytest.approx(x.mean(), rel=1e-5)
    assert float(state) == 2


def test_dtypes():
    assert parallel.compute_dtype('auto') == jnp.float32  # on CPU
    assert parallel.compute_dtype('bfloat16') == jnp.bfloat16
    assert jax.default_backend() == 'cpu'


PRINT_DEVICES = '''
import sys
import loky
loky.cpu_count = lambda: 6
from train import parallel
parallel.set_up(int(sys.argv[1]))
import jax, os
print(parallel.device_count(), jax.config.jax_compilation_cache_dir, os.environ['XLA_FLAGS'])
'''


@pytest.mark.parametrize(
    ('cpu_devices', 'flags', 'expected'),
    [
        (3, '', 3),
        (1, '', 1),
        (0, '', 4),  # as many as cores, as a power of two up to 8
        (2, '--xla_force_host_platform_device_count=5', 5),  # the user's word holds
    ],
)
def test_cpu_devices(clean_env, cpu_devices, flags, expected):
    env = clean_env | {'XLA_FLAGS': flags, 'JAX_COMPILATION_CACHE_DIR': ''}
    done = subprocess.run([sys.executable, '-c', PRINT_DEVICES, str(cpu_devices)], env=env,
                          capture_output=True, text=True, timeout=60, check=True)
    count, cache, *found = done.stdout.split()
    assert int(count) == expected
    assert cache.endswith('.jax_cache')
    assert '--xla_cpu_experimental_ynn_fusion_type=-individual_convolution' in found
    assert len({flag.split('=')[0] for flag in found}) == len(found)  # none given twice


def test_the_shell_does_not_change_the_numbers(clean_env):
    env = clean_env | {
        'JAX_DEFAULT_PRNG_IMPL': 'rbg', 'JAX_ENABLE_X64': '1', 'JAX_THREEFRY_PARTITIONABLE': '0',
        'JAX_RANDOM_SEED_OFFSET': '1', 'JAX_DEFAULT_MATMUL_PRECISION': 'highest',
        'JAX_ACCURATE_ERF_INV': '1', 'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
    }
    code = ('from train import parallel; parallel.set_up(1); import jax; '
            'x = jax.random.normal(jax.random.key(7), (3, 3)); '
            'print(x.tolist(), jax.jit(lambda a: a @ a).lower(x).as_text())')
    said = [subprocess.run([sys.executable, '-c', code], env=own, capture_output=True, text=True,
                           timeout=60, check=True).stdout for own in (clean_env, env)]
    assert said[0] == said[1]


@pytest.mark.parametrize('library', [jnp, np])
def test_too_little_memory_is_one_line_with_a_remedy(library):
    with pytest.raises(MemoryError, match=r'^not enough memory: .*; buy more') as caught:
        with parallel.memory_errors('buy more'):
            np.asarray(library.ones(2**50, np.uint8))
    assert '\n' not in str(caught.value)


def test_too_little_memory_without_a_word_says_so():
    with pytest.raises(MemoryError, match='^not enough memory; buy more$'):
        with parallel.memory_errors('buy more'):
            raise MemoryError


def test_other_errors_of_jax_are_left_alone():
    with pytest.raises(jax.errors.JaxRuntimeError, match='INTERNAL'):
        with parallel.memory_errors('buy more'):
            raise jax.errors.JaxRuntimeError('INTERNAL: of another kind')


def test_a_step_is_compiled_beside_its_state_and_once():
    traced = []

    def step(state, batch):
        traced.append(batch.shape)
        return state + parallel.mean(batch.sum()), {}

    step, batch = parallel.train_step(step), parallel.shard(np.ones((8, 3), np.float32))
    begin = jax.jit(lambda: jnp.zeros((), jnp.float32))
    state = parallel.compile_beside(
        lambda: parallel.replicate(begin()), step, parallel.laid_out(begin.eval_shape()), batch)
    assert state.sharding == parallel.replicate(np.float32(0)).sharding
    count = len(traced)
    for _ in range(2):
        state, _ = step(state, batch)
    assert len(traced) == count > 0 and float(state) == 2 * 24 / parallel.device_count()
