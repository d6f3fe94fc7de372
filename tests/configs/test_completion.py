"""What bash offers, asked as bash does it: a line, the cursor's place, the words."""

import shutil
import subprocess
import sys

import pytest

from configs import augmented, completion, default

pytestmark = pytest.mark.skipif(not shutil.which('bash'), reason='needs bash')


@pytest.fixture(scope='module')
def script(clean_env):
    return subprocess.run(
        [sys.executable, '-m', 'configs.completion'],
        env=clean_env, capture_output=True, text=True, check=True, cwd=completion.ROOT,
    ).stdout


def offered(script, line):
    ask = f'{script}\nCOMP_LINE=$1 COMP_POINT=${{#1}}; COMP_WORDS=($1); _main_py\n'
    ask += 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(
        ['bash', '-c', ask, 'bash', line], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(('line', 'expected'), [
    ('python main.py --mo', ['--mode=']),
    ('python main.py --config=configs/augmented.py:cifar1', ['cifar10_lt', 'cifar100_lt']),
    ('python main.py --rerun --config=configs/orig', [
        f'configs/original.py{":" * bool(v)}{v}' for v in augmented.VARIANTS]),
    ('python main.py --config.classifier.cut', ['--config.classifier.cutout=']),
    ('python main.py --config=configs/augmented.py --no_such', []),
    ('python other.py --mo', []),
])
def test_what_begins_like_the_word_is_offered(script, line, expected):
    assert offered(script, line) == expected


def test_every_field_and_variant_is_known():
    words = completion.words()
    assert len(set(words)) == len(words)
    assert {f'--config.{name}=' for name in default.flat(default.get_config())} < set(words)
    assert {'--workdir=', '--rerun', '--checkpoint=', '--sweep_list'} < set(words)
