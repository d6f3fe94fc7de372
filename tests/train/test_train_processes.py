import subprocess
import sys

import pytest

from benchmarks import small_run
from train import parallel, processes


@pytest.mark.parametrize(('environment', 'count'), [
    ({}, 1),
    ({'SLURM_JOB_ID': '7', 'SLURM_NTASKS': '4'}, 1),  # a batch script, not what srun starts
    ({'SLURM_STEP_NUM_TASKS': '4', 'SLURM_PROCID': '3'}, 4),
    ({'SLURM_STEP_NUM_TASKS': '1', 'SLURM_PROCID': '0'}, 1),  # an array's task
    ({'OMPI_COMM_WORLD_SIZE': '2', 'OMPI_COMM_WORLD_RANK': '0'}, 2),
    ({'KUBERNETES_SERVICE_HOST': 'x', 'JOB_COMPLETION_INDEX': '3'}, 1),
])
def test_how_many_processes_a_launcher_announces(environment, count):
    assert processes.announced(environment) == count


def test_a_process_that_stands_alone_decides_for_itself():
    assert processes.on_main(lambda: {'a': 1}) == {'a': 1}
    assert parallel.any_process(True) is True and parallel.any_process(False) is False
    with pytest.raises(OSError, match='full'), processes.ending_together():
        processes.on_main(lambda: (_ for _ in ()).throw(OSError('full')))


JOIN = """
import sys, jax
from train import parallel, processes
parallel.set_up(1)
processes.join(coordinator_address=sys.argv[1], num_processes=2, process_id=int(sys.argv[2]))
print(jax.config.jax_enable_compilation_cache)
jax.distributed.shutdown()
"""


@pytest.mark.parametrize('shared', [True, False])
def test_compiled_programs_are_kept_where_all_processes_see_them(clean_env, tmp_path, shared):
    address = small_run.free_address()
    caches = [tmp_path / ('all' if shared else str(index)) for index in range(2)]
    joined = [
        subprocess.Popen(
            [sys.executable, '-c', JOIN, address, str(index)], stdout=subprocess.PIPE, text=True,
            env=clean_env | {'JAX_COMPILATION_CACHE_DIR': str(cache)},
        )
        for index, cache in enumerate(caches)
    ]
    said = [process.communicate(timeout=120)[0] for process in joined]
    assert [process.returncode for process in joined] == [0, 0]
    assert [text.split()[-1] for text in said] == [str(shared)] * 2
    assert ('every start compiles' in ' '.join(said[0].split())) != shared
    assert not [path for cache in caches for path in cache.glob('seen_by_all*')]
