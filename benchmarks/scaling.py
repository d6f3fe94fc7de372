"""What becomes of the time and the memory with more devices, and with more images?

    python -m benchmarks.scaling [--largest=1000000] [--classes=10]

Devices: both training steps on one CPU split into 1, 2, 4 and 8, and into two that two processes
have; the batch stays the same. Sizes: ordering, splitting, the quality check's distances and
export, each of 1,000 images to `largest`, in a process of its own. An exponent of 1 is linear
growth, 2 is quadratic.
"""

import itertools
import math

import jax
import numpy as np

from benchmarks import children, common, sized, small_run, steps

CASES = ((1, 1), (2, 1), (2, 2), (4, 1), (8, 1))  # (devices, processes that share them)
SIZES = (1_000, 10_000, 100_000, 1_000_000)
LINEAR = 1.2  # the largest exponent that passes for linear: n log n has 1.1 at 10,000 images
LEAST = {'seconds': 0.02, 'added_mb': 20.0}  # below, growth is that of the noise
DEVICE_NOTES = (
    'Devices forced on one CPU: more of them than cores only shows what dividing the work costs, '
    'not what more hardware brings. One device shares all cores, each of several has one thread. '
    'Two processes speak by gloo, as hosts would, with one thread a device.',
    'ms are of a step, median, min and max of the processes; the batch is the same on all counts',
)
SIZE_NOTES = (
    'seconds: median of up to 20 runs, of half a second in all where one is shorter',
    'added_mb: peak above imports and the images themselves',
    'exponents: slope of log seconds (log MB) over log images from the size above; over 1.2 is '
    'named; below 0.02 s and 20 MB none is given',
)


def measure_devices(cases=CASES, variant='', fields=None, *, models=steps.MODELS, count, rounds):
    """Rows of training steps by number of CPU devices and of processes.

    Args:
        variant, fields: see `steps.get_config`; count: steps of a process; rounds: processes of
            each kind, which take turns.
    Returns:
        [{'model', 'devices', 'processes', 'batch', 'ms': a step, median; 'ms_min', 'ms_max',
        'images_per_s', 'speedup': over the first of `cases`}].
    """
    found, env = {}, {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': None}
    alone = env | {'XLA_FLAGS': '--xla_cpu_multi_thread_eigen=false'}  # as one of several devices
    for _, model, case in itertools.product(range(rounds), models, cases):
        request = {'model': model, 'devices': case[0], 'variant': variant, 'fields': fields,
                   'count': count}
        requests = [request | {'place': place} for place in places(case[1])]
        own = env if case[1] == 1 else alone
        answers = children.ask_all('benchmarks.forced_devices', requests, own)
        found.setdefault((model, case), []).append(answers[0])
    rows = []
    for (model, (devices, processes)), answers in found.items():
        times, batch = [answer['ms'] for answer in answers], answers[0]['batch']
        rows.append({
            'model': model, 'devices': devices, 'processes': processes, 'batch': batch,
            'ms': float(np.median(times)), 'ms_min': min(times), 'ms_max': max(times),
            'images_per_s': 1e3 * batch / float(np.median(times)),
        })
    first = {model: next(row['ms'] for row in rows if row['model'] == model) for model in models}
    return [row | {'speedup': first[row['model']] / row['ms']} for row in rows]


def places(processes):
    """What each of so many processes gives to `processes.join`; [{}] for one."""
    if processes == 1:
        return [{}]
    address = small_run.free_address()
    return [
        {'coordinator_address': address, 'num_processes': processes, 'process_id': index}
        for index in range(processes)
    ]


def measure_sizes(sizes, classes, works=tuple(sized.WORKS)):
    """Rows of each of `works` (of `sized.WORKS`) by number of images.

    Returns:
        [{'work', 'images', 'seconds', 'seconds_exponent', 'peak_mb', 'added_mb', 'mb_exponent',
        'remark'}]; a size that fails (out of memory) has a remark only, and ends its work.
    """
    rows = []
    for work in works:
        smaller = None
        for size in sizes:
            row = {'work': work, 'images': size}
            rows.append(row)
            try:
                row |= children.ask(
                    'benchmarks.sized', {'work': work, 'size': size, 'classes': classes}
                )
            except RuntimeError as error:
                row['remark'] = f'failed: {str(error).splitlines()[-1]}'
                break
            row['seconds_exponent'] = exponent(smaller, row, 'seconds')
            row['mb_exponent'] = exponent(smaller, row, 'added_mb')
            row['remark'] = remark(row)
            smaller = row
    return rows


def exponent(smaller, larger, name):
    """b of `name` ~ images^b between two rows; None without the first or where noise counts."""
    if smaller is None or smaller[name] < LEAST[name]:
        return None
    growth = math.log(larger[name] / smaller[name])
    return growth / math.log(larger['images'] / smaller['images'])


def remark(row):
    steep = [name for name in ('seconds', 'mb') if (row[f'{name}_exponent'] or 0) > LINEAR]
    return f'{" and ".join(steep)}: worse than linear' if steep else ''


def main():
    options = common.arguments(
        'Time and memory by number of devices and of images.',
        largest=100_000, classes=10, variant='', steps=50, rounds=3,
    )
    jax.config.update('jax_platforms', 'cpu')  # all of this is the host's, and so is what is noted
    rows = measure_devices(variant=options.variant, count=options.steps, rounds=options.rounds)
    common.report(
        'scaling_devices', rows, out=options.out, notes=DEVICE_NOTES,
        title='Training steps on a CPU split into devices',
    )
    sizes = [size for size in SIZES if size <= options.largest]
    common.report(
        'scaling_sizes', measure_sizes(sizes, options.classes), out=options.out, notes=SIZE_NOTES,
        title=f'Images of {sized.SIDE} px in {options.classes} classes',
    )


if __name__ == '__main__':
    main()
