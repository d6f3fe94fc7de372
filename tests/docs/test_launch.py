"""The recipes of docs/launch, as far as they can be checked without a cluster."""

import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from benchmarks import small_run

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'docs' / 'launch'
SCRIPTS = sorted([*FOLDER.glob('*.sh'), *FOLDER.glob('*.sbatch')])
JOBS = sorted(FOLDER.glob('*.yaml'))


def test_the_table_names_every_recipe():
    text = (FOLDER / 'README.md').read_text('utf-8')
    missing = [path.name for path in SCRIPTS + JOBS if f'`{path.name}`' not in text]
    assert not missing and len(SCRIPTS + JOBS) == 8


@pytest.mark.parametrize('path', SCRIPTS, ids=lambda path: path.name)
def test_shell_syntax(path):
    subprocess.run(['bash', '-n', str(path)], check=True)


@pytest.fixture
def python(tmp_path):
    """A stand-in for Python: writes its arguments down and ends with the statuses of a file."""
    script = tmp_path / 'python'
    script.write_text(f'''#!/usr/bin/env bash
printf '%s\\n' "$*" >> {tmp_path}/called
read -r status rest < {tmp_path}/statuses
echo "$rest" > {tmp_path}/statuses
exit "$status"
''')
    script.chmod(0o755)
    return script


def recipe(name, python, statuses, **env):
    """(status of the recipe, the arguments of each call of main.py)."""
    (python.parent / 'statuses').write_text(statuses)
    done = subprocess.run(
        ['bash', str(FOLDER / name)], cwd=ROOT, timeout=60,
        env=os.environ | {'PYTHON': str(python), **env},
    )
    return done.returncode, (python.parent / 'called').read_text().splitlines()


@pytest.fixture
def parses(again):
    """arguments -> the runs that main.py makes of them: lines of --sweep_list."""

    def parse(arguments):
        words = shlex.split(arguments)
        assert words[0] == 'main.py'
        done = again([*words[1:], '--sweep_list'])
        return done.returncode, done.stdout.splitlines(), done.stderr

    return parse


@pytest.mark.skipif(not shutil.which('timeout'), reason='macOS has none, nor such a GPU')
def test_one_gpu_says_again_and_eight_go_on_until_done(python):
    assert recipe('one_gpu.sh', python, '75')[0] == 75
    assert recipe('one_gpu.sh', python, '0')[0] == 0
    (python.parent / 'called').unlink()
    status, called = recipe('eight_gpus.sh', python, '75 75 0')
    assert status == 0 and len(called) == 3
    assert recipe('eight_gpus.sh', python, '75 2')[0] == 2


def test_the_array_runs_one_point_of_its_sweep(python, parses):
    status, called = recipe('slurm_array.sbatch', python, '0', SLURM_ARRAY_TASK_ID='3')
    assert status == 0
    status, runs, errors = parses(called[0])
    assert status == 0, errors
    array = next(line for line in (FOLDER / 'slurm_array.sbatch').read_text().splitlines()
                 if '--array=' in line)
    assert f'0-{len(runs) - 1}%' in array


@pytest.mark.parametrize('path', JOBS, ids=lambda path: path.name)
def test_a_job_s_command_is_one_that_main_knows(path, parses):
    job = list(yaml.safe_load_all(path.read_text('utf-8')))[-1]
    assert job['kind'] == 'Job' and job['spec']['completionMode'] == 'Indexed'
    command = job['spec']['template']['spec']['containers'][0]['command']
    words = [word.replace('$(JOB_COMPLETION_INDEX)', '1') for word in command[1:]]
    status, runs, errors = parses(shlex.join(words))
    if 'sweep' in path.name:
        assert status == 0 and len(runs) == job['spec']['completions'], errors
    else:  # the flags are known; only that there is no sweep to list is said
        assert errors == 'error: --sweep_list needs --sweep\n'
        assert f'--num_processes={job["spec"]["completions"]}' in command


def test_two_processes_as_the_recipe_starts_them(tmp_path, clean_env):
    config, _, *fields = small_run.arguments(tmp_path)
    env = clean_env | {'PYTHON': sys.executable, 'WORKDIR': str(tmp_path / 'run'),
                       'CONFIG': config.removeprefix('--config='),
                       'XLA_FLAGS': '--xla_backend_optimization_level=0'}
    done = subprocess.run(
        ['bash', str(FOLDER / 'two_processes.sh'), *fields, '--config.arms=original',
         '--config.classifier.steps=2'],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'run' / 'report' / 'index.html').exists()


PATIENT = '''#!/usr/bin/env bash
printf 'began\\n' >> {folder}/called
trap 'exit 75' {signal} TERM
for _ in $(seq 100); do sleep 0.1; done
exit 0
'''


def interrupted(python, name, signal_number, whole_group, **env):
    """(status, calls) of a recipe that gets a signal while its run is on, which ends with 75."""
    folder = python.parent
    python.write_text(PATIENT.format(folder=folder, signal=signal.Signals(signal_number).name[3:]))
    # whoever started these tests in the background had them ignore Ctrl-C, which is inherited
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        ['bash', str(FOLDER / name)], cwd=ROOT, start_new_session=True,
        env=os.environ | {'PYTHON': str(python), 'PATH': f'{folder}:{os.environ["PATH"]}', **env},
    )
    deadline = time.monotonic() + 30
    while not (folder / 'called').exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)  # until its trap is set
    (os.killpg if whole_group else os.kill)(process.pid, signal_number)
    return process.wait(timeout=30), (folder / 'called').read_text().splitlines()


def test_a_task_of_the_array_that_its_time_limit_stops_is_queued_again(python, tmp_path):
    """SLURM tells the batch shell alone."""
    (tmp_path / 'scontrol').write_text(f'#!/usr/bin/env bash\necho "$*" > {tmp_path}/queued\n')
    (tmp_path / 'scontrol').chmod(0o755)
    ids = {'SLURM_ARRAY_TASK_ID': '3', 'SLURM_ARRAY_JOB_ID': '17'}
    status, _ = interrupted(python, 'slurm_array.sbatch', signal.SIGTERM, False, **ids)
    assert status == 75 and (tmp_path / 'queued').read_text() == 'requeue 17_3\n'


@pytest.mark.parametrize('name', ['one_gpu.sh', 'eight_gpus.sh'])
def test_ctrl_c_ends_a_recipe_and_does_not_start_it_again(python, tmp_path, name):
    """A terminal tells all of the group."""
    start = time.monotonic()
    status, calls = interrupted(python, name, signal.SIGINT, True)
    assert len(calls) == 1 and time.monotonic() - start < 9 and status in (75, 130, -signal.SIGINT)


@pytest.mark.parametrize('name', ['one_gpu.sh', 'eight_gpus.sh', 'two_processes.sh'])
def test_what_stops_a_recipe_stops_its_run_and_waits_for_it(python, name):
    """A scheduler tells the script alone."""
    start = time.monotonic()
    status, calls = interrupted(python, name, signal.SIGTERM, False)
    assert status == 75 and time.monotonic() - start < 9
    assert len(calls) == (2 if name == 'two_processes.sh' else 1)
