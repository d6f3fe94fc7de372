import pathlib
import subprocess
import sys

import pytest

from train import hugepages

PROGRAM = """
import os, sys
print('started')
from train import hugepages
hugepages.ask()
print(os.environ['GLIBC_TUNABLES'], sys.argv[1:], sys.flags.utf8_mode)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='asks on Linux only')
@pytest.mark.parametrize(('given', 'expected'), [
    ({}, ['started', 'started', f"{hugepages.SETTING} ['a b', '--c=d'] 1"]),
    ({'GLIBC_TUNABLES': 'x'}, ['started', "x ['a b', '--c=d'] 1"]),
])
def test_the_process_starts_again_as_it_was_and_once(tmp_path, clean_env, given, expected):
    (tmp_path / 'program.py').write_text(PROGRAM)
    env = {name: value for name, value in clean_env.items() if name != 'GLIBC_TUNABLES'} | given
    process = subprocess.Popen(
        [sys.executable, '-u', '-X', 'utf8', tmp_path / 'program.py', 'a b', '--c=d'],
        env=env, stdout=subprocess.PIPE, text=True,
    )
    said, _ = process.communicate(timeout=60)
    assert said.splitlines() == expected and process.returncode == 0


def test_the_makefile_says_the_same():
    makefile = pathlib.Path(hugepages.__file__).resolve().parents[1] / 'Makefile'
    assert f'GLIBC_TUNABLES = {hugepages.SETTING}\n' in makefile.read_text()
