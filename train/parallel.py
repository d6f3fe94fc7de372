"""Devices and processes: every pmap, count and gather of the project, what JAX is told before it
starts, and what depends on the hardware.

State travels without a device axis (in_axes=None): JAX keeps it replicated between steps. Batches
carry a leading axis of local devices. `pmap` is in maintenance mode in JAX: leaving it one day is
this file's work alone.
"""

import collections
import contextlib
import math
import os
import pathlib
import re
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.flatten_util import ravel_pytree
from loky import cpu_count

AXIS = 'data'
MOST = 1024  # devices that a CPU may be split into
SMALLER = (
    'give generator, classifier, judge or synthesis a smaller batch_size, or set '
    'config.generator.remat or accumulate, or a smaller config.data.image_size'
)

# What changes the numbers is not the shell's to say, since the config does not tell of it.
NUMBERS = {
    'jax_default_prng_impl': 'threefry2x32',  # its keys are of two numbers
    'jax_threefry_partitionable': True,
    'jax_random_seed_offset': 0,
    'jax_accurate_erf_inv': False,  # of normal ones
    'jax_enable_x64': False,
    'jax_default_matmul_precision': None,
    'jax_disable_most_optimizations': False,
}


def set_up(cpu_devices):
    """Prepares the devices; must run before anything uses JAX.

    Args:
        cpu_devices: how many devices the CPU is split into, one single-threaded device each. 0: one
            per core, as a power of 2 up to 8; two are about as fast as one device that shares two
            cores (benchmarks/README.md). Without effect on accelerators.

    Raises:
        ValueError: fewer than none, or more than `MOST`.
    """
    if not 0 <= cpu_devices <= MOST:
        raise ValueError(f'config.cpu_devices={cpu_devices} must be 0 to {MOST}')
    given = os.environ.get('XLA_FLAGS', '')
    # those that this process may use: a container's share may be fewer than its machine has
    count = cpu_devices or 2 ** min(3, int(math.log2(cpu_count())))
    wanted = [
        '--xla_backend_optimization_level=1',  # the time is in library calls: compile faster
        # convolutions by Eigen, which are faster in jax 0.12
        '--xla_cpu_experimental_ynn_fusion_type=-individual_convolution',
    ]
    if count > 1:
        wanted += [
            f'--xla_force_host_platform_device_count={count}',
            '--xla_cpu_multi_thread_eigen=false',
        ]
    wanted = [flag for flag in wanted if flag.split('=')[0] not in given]  # the user's word holds
    os.environ['XLA_FLAGS'] = ' '.join([given, *wanted]).strip()
    for name, value in NUMBERS.items():
        with contextlib.suppress(AttributeError):  # jax 0.10 lacks some, and so the choice
            jax.config.update(name, value)
    if not jax.config.jax_compilation_cache_dir:
        cache = pathlib.Path(__file__).resolve().parent.parent / '.jax_cache'
        jax.config.update('jax_compilation_cache_dir', str(cache))
    if 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS' not in os.environ:
        jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)  # not 1: ours take 0.9


def device_count():
    """Devices of all processes."""
    return jax.device_count()


def local_device_count():
    """Devices of this process."""
    return jax.local_device_count()


def any_process(flag):
    """Whether `flag` is true in any process; all must ask."""
    if alone():
        return flag
    return bool(multihost_utils.process_allgather(np.array(flag)).any())


def require_equal_counts():
    """Raises ValueError if the processes have not equally many devices, as a batch is cut."""
    counts = collections.Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        listed = ', '.join(str(counts[index]) for index in sorted(counts))
        raise ValueError(
            f'the processes must have equally many devices, and they have {listed}; of CPUs '
            'config.cpu_devices says how many, of GPUs CUDA_VISIBLE_DEVICES'
        )


def round_up(size):
    """The smallest multiple of the number of devices that is no less."""
    return -(-size // jax.device_count()) * jax.device_count()


def alone():
    """Whether there is one process only."""
    return jax.process_count() == 1


def process():
    """(index, count) of this process."""
    return jax.process_index(), jax.process_count()


def place():
    """`process` as the keyword arguments of `pipeline`'s functions, which know no JAX."""
    return {'process_index': jax.process_index(), 'process_count': jax.process_count()}


def is_main():
    """Whether this process writes shared files."""
    return jax.process_index() == 0


def describe():
    """The hardware in words, such as '2 x cpu (AMD EPYC 7B13, 2 cores)'.

    Raises:
        ValueError: JAX finds no device, as of a platform that JAX_PLATFORMS names.
    """
    try:
        kind = jax.devices()[0].device_kind
    except (RuntimeError, AssertionError) as error:
        platforms = os.environ.get('JAX_PLATFORMS', '')
        raise ValueError(
            f'JAX finds no device to compute on (JAX_PLATFORMS={platforms!r}): '
            f'{(str(error).splitlines() or [type(error).__name__])[0]}; unset it, or install what '
            'JAX needs for the device'
        ) from error
    if jax.default_backend() == 'cpu':
        kind = f'{_processor() or kind}, {cpu_count()} cores'
    return f'{jax.device_count()} x {jax.default_backend()} ({kind})'


def _processor():
    """The processor's name, '' where the system does not tell: JAX has none for it."""
    try:
        facts = pathlib.Path('/proc/cpuinfo').read_text('utf-8')
    except OSError:
        return ''
    found = re.search(r'^model name\s*:\s*(\S.*)$', facts, re.MULTILINE)
    return found[1].strip() if found else ''


def compute_dtype(name):
    """The activations' dtype: 'auto' is bfloat16 on accelerators and float32 on CPU."""
    if name == 'auto':
        name = 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'
    return jnp.dtype(name)


def train_step(step):
    """pmaps step(state, batch) -> (state, metrics); the state's memory is reused."""
    return jax.pmap(step, AXIS, in_axes=(None, 0), out_axes=None, donate_argnums=0)


def everywhere(tree):
    """`tree` on all devices of this process, sent once, for `mapped` to read in many calls."""
    return jax.device_put(tree, _on_all())


def replicate(tree):
    """Copies `tree` to all devices, laid out as `train_step` returns it: no second compilation."""
    # on CPU all devices may share the memory of `tree` at first, and `train_step` reuses it
    return jax.device_put(everywhere(tree), _on_all(), may_alias=False)


def laid_out(shapes):
    """Shapes and types as `replicate` lays arrays out, for a step that is compiled before them."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=_on_all()), shapes
    )


def compile_beside(make, step, *shapes):
    """What `make()` returns, while the pmapped `step` of these shapes is traced and compiled.

    Python traces it on one core and XLA compiles on all: one after the other they leave cores idle.
    Among several processes they stay so: there pmap is lowered of real arrays only.
    """
    if not alone():
        return make()
    with futures.ThreadPoolExecutor(1) as pool:
        made = pool.submit(make)
        step.lower(*shapes).compile()  # a call of these shapes finds it
        return made.result()


def _on_all():
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), (AXIS,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def mapped(function):
    """pmaps function(replicated, batch) -> per-example outputs, split over devices."""
    return jax.pmap(function, AXIS, in_axes=(None, 0), out_axes=0)


def shard(batch):
    """Splits the leading axis of this process's part of a batch over its devices.

    [B, ...] -> [D, B/D, ...] in every array.
    """
    devices = jax.local_device_count()
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


def unshard(outputs):
    """What the devices of all processes made of a global batch, as NumPy arrays on every host."""
    local = jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), outputs)
    return local if alone() else multihost_utils.process_allgather(local, True)


def mean(tree):
    """The mean over all devices; for use inside a mapped function.

    One all-reduce for the whole tree: on CPU each one is a meeting of all threads, and 200 of them,
    one a parameter, took a fifth of the generator's step.
    """
    flat, restore = ravel_pytree(tree)
    return restore(jax.lax.pmean(flat, AXIS))


def positions(count):
    """The places in the global batch of this device's `count` examples, int32 [count]."""
    return jax.lax.axis_index(AXIS) * count + jnp.arange(count)


@contextlib.contextmanager
def memory_errors(remedy=SMALLER):
    """Turns what JAX and NumPy raise for want of memory into a MemoryError that says what helps."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        reason = str(error).strip().split('\n')[0].rstrip('.')
        if not isinstance(error, MemoryError) and 'RESOURCE_EXHAUSTED' not in reason:
            raise
        said = ': '.join(filter(None, ('not enough memory', reason)))
        raise MemoryError(f'{said}; {remedy}') from error


def throttle(metrics, step):
    """Keeps the host at most a few steps ahead where running far ahead aborts the process.

    Several forced CPU devices under jax 0.10 do; accelerators need no such pause.
    """
    if step % 10 == 0 and jax.default_backend() == 'cpu':
        jax.block_until_ready(metrics)
