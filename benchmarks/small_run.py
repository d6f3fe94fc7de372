"""The smallest whole experiment, to be killed: how to start it, and what it must end with."""

import hashlib
import json
import os
import pathlib
import socket
import sys
import time

import numpy as np
from flax.traverse_util import flatten_dict

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIG = f'--config={ROOT}/configs/augmented.py:digits'
FIELDS: dict = {
    'cpu_devices': 2, 'data.image_size': 8, 'data.imbalance': 'range:4-8',
    'generator.steps': 150, 'generator.channels': 8, 'generator.multipliers': '(1,)',
    'generator.attention': '(False,)', 'generator.batch_size': 4, 'generator.warmup_steps': 0,
    'generator.log_every': 1, 'generator.validate_every': 75, 'generator.save_every': 40,
    'synthesis.steps': 2, 'synthesis.batch_size': 32, 'synthesis.rounds': 2,
    'quality.min_relevance': 0.0, 'quality.max_distance_quantile': 1.0, 'quality.copy_ratio': 0.0,
    'quality.duplicate_ratio': 0.0, 'quality.min_contrast': 0.0, 'quality.max_saturated': 1.0,
    'classifier.seeds': 1, 'classifier.widths': '(4,)', 'classifier.hidden': 8,
    'classifier.steps': 40, 'classifier.batch_size': 16, 'classifier.log_every': 1,
    'classifier.validate_every': 20, 'classifier.save_every': 10,
}
FIELDS |= {
    name.replace('classifier.', 'judge.'): value
    for name, value in FIELDS.items() if name.startswith('classifier.')
}
del FIELDS['judge.seeds']
# What of report/metrics.json is not the same in every run.
_ACCIDENTS = ('seconds', 'command', 'date', 'commit', 'hardware', 'versions')


def arguments(workdir, **changes):
    """The flags of main.py; `changes` override FIELDS, with '__' for '.'."""
    fields = FIELDS | {name.replace('__', '.'): value for name, value in changes.items()}
    settings = [f'--config.{name}={value}' for name, value in fields.items()]
    return [CONFIG, f'--workdir={workdir}', *settings]


def free_address():
    """host:port of this machine that nothing listens to, for processes to meet at."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return f'127.0.0.1:{free.getsockname()[1]}'


def aside(function, *arguments):
    """What function(*arguments) returns, JSON data, from a fork of its own; see `start`."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            with os.fdopen(writer, 'w') as pipe:
                json.dump(function(*arguments), pipe)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(said)


def start(flags, output):
    """Forks main.py with these flags; what it says goes to the file `output`. Returns its PID.

    A fork has main.py's imports already, which are most of such a run's time. The parent must not
    have used JAX's devices: their threads do not survive a fork.
    """
    import main  # its flags belong to the runs, not to the benchmark that imports this

    pid = os.fork()
    if not pid:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        sys.argv = ['main.py', *flags]
        from absl import app

        status = 1
        try:
            app.run(main.main, flags_parser=main.parse)
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            sys.stdout.flush()
            os._exit(status)  # the parent's open files and folders are not the child's to close
    return pid


def wait(pid, seconds=300.0):
    """The exit status of `start`'s process, negative for a signal; None: it still runs."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def outcome(workdir):
    """{name: digest} of all that two runs of one config must have in common, bit for bit."""
    from train import checkpoints

    workdir, found = pathlib.Path(workdir), {}
    for path in sorted(workdir.rglob('*')):
        name = path.relative_to(workdir).as_posix()
        if path.name == 'checkpoints':
            for key, array in flatten_dict(checkpoints.load(path), sep='/').items():
                found[f'{name}/{key}'] = _digest(np.asarray(array).tobytes())
        elif 'checkpoints' in path.parts or not path.is_file():
            continue
        elif name == 'report/metrics.json':
            metrics = json.loads(path.read_text('utf-8'))
            same = {key: value for key, value in metrics.items() if key not in _ACCIDENTS}
            found[name] = _digest(json.dumps(same, sort_keys=True).encode())
        elif path.suffix in ('.npz', '.npy', '.png', '.jsonl', '.csv') or 'data/' in name:
            if path.name != 'stage.json':
                found[name] = _digest(path.read_bytes())
    return found


def unsaved(workdir):
    """Steps that a killed run's log has and its newest checkpoint has not, in save intervals."""
    from train import checkpoints

    worst = 0.0
    for log in pathlib.Path(workdir).rglob('*.unfinished/metrics.jsonl'):
        lines = log.read_text('utf-8').splitlines(keepends=True)
        rows = [line for line in lines if line.endswith('\n')]
        done = json.loads(rows[-1])['step'] if rows else 0
        part = 'generator' if 'generator' in log.parent.name else 'classifier'
        saved = checkpoints.steps(log.parent / 'checkpoints')
        worst = max(worst, (done - (saved[-1] if saved else 0)) / FIELDS[f'{part}.save_every'])
    return worst


def _digest(data):
    return hashlib.sha256(data).hexdigest()
