"""Huge pages for large arrays: on Linux they make a training step faster, and nobody sets them."""

import os
import sys

SETTING = 'glibc.malloc.hugetlb=1'


def ask():
    """Starts this process again with the C library told to ask for them; call it before imports.

    Where another setting stands in GLIBC_TUNABLES, it stays; systems without glibc ignore it.
    """
    if sys.platform == 'linux' and 'GLIBC_TUNABLES' not in os.environ:
        os.environ['GLIBC_TUNABLES'] = SETTING
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
