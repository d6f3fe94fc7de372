"""The programs of docs/guide.md that bring images into class folders."""

import pathlib
import re

import numpy as np
from PIL import Image

from data import cuts, sources

PAGE = pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'guide.md'
SECTION = PAGE.read_text('utf-8').split('## If your images lie otherwise')[1].split('\n## ')[0]
PAGES, = re.findall(r'```python\n(.*?)```', SECTION, re.DOTALL)
SITES, STACKS = re.findall("--config.splits.group_by='(.*?)'", SECTION)


def test_the_sites_of_a_table_are_kept_together():
    names = ['north/2021/x.jpg', 'north/2022/x.jpg', 'south/2021/x.jpg']
    assert cuts.group(names, SITES).tolist() == [0, 0, 1]


def test_stacks_of_12_bits_become_images_of_all_levels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('cell', 'debris'):
        (tmp_path / 'tiffs' / name).mkdir(parents=True)
        pages = [Image.fromarray(np.full((9, 9), value, np.uint16)) for value in (0, 4095)]
        pages[0].save(f'tiffs/{name}/x_1.tif', save_all=True, append_images=pages[1:])
    exec(compile(PAGES, 'docs/guide.md', 'exec'), {})
    source, _ = sources.open_source('folder', image_size=8, train='images')
    assert source.names == tuple(f'{kind}/x_1_{i}.png' for kind in ('cell', 'debris') for i in '01')
    assert [source[i]['image'].max() for i in range(4)] == [0, 255, 0, 255]
    assert cuts.group(source.names, STACKS).tolist() == [0, 0, 1, 1]
