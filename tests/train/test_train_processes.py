import pytest

from train import parallel, processes


@pytest.mark.parametrize(('environment', 'count'), [
    ({}, 1),
    ({'SLURM_JOB_ID': '7', 'SLURM_NTASKS': '4'}, 1),  # a batch script, not what srun starts
    ({'SLURM_STEP_NUM_TASKS': '4', 'SLURM_PROCID': '3'}, 4),
    ({'SLURM_STEP_NUM_TASKS': '1', 'SLURM_PROCID': '0'}, 1),  # an array's task
    ({'OMPI_COMM_WORLD_SIZE': '2', 'OMPI_COMM_WORLD_RANK': '0'}, 2),
    ({'KUBERNETES_SERVICE_HOST': 'x', 'JOB_COMPLETION_INDEX': '3'}, 1),
])  # fmt: skip
def test_how_many_processes_a_launcher_announces(environment, count):
    assert processes.announced(environment) == count


def test_a_process_that_stands_alone_decides_for_itself():
    assert processes.on_main(lambda: {'a': 1}) == {'a': 1}
    assert parallel.any_process(True) is True and parallel.any_process(False) is False
    with pytest.raises(OSError, match='full'), processes.ending_together():
        processes.on_main(lambda: (_ for _ in ()).throw(OSError('full')))
