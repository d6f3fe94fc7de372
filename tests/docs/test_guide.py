"""The programs of docs/guide.md that bring images into class folders."""

import csv
import pathlib
import re

import numpy as np
from PIL import Image

from data import cuts, sources

PAGE = pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'guide.md'
SECTION = PAGE.read_text('utf-8').split('## If your images lie otherwise')[1].split('\n## ')[0]
TABLE, PAGES = re.findall(r'```python\n(.*?)```', SECTION, re.DOTALL)
SITES, PATIENTS, STACKS = re.findall("--config.splits.group_by='(.*?)'", SECTION)


def opened(program, pattern):
    """(the source that the program makes, numbers of its groups by `pattern`)."""
    exec(compile(program, 'docs/guide.md', 'exec'), {})
    source, _ = sources.open_source('folder', image_size=8, train='images')
    return source, cuts.group(source.names, pattern).tolist()


def test_the_sites_of_a_table_are_kept_together():
    names = ['north/2021/x.jpg', 'north/2022/x.jpg', 'south/2021/x.jpg']
    assert cuts.group(names, SITES).tolist() == [0, 0, 1]


def test_images_of_a_table_are_sorted_and_patients_kept_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [('a.png', 'benign', 'p_1'), ('b.png', 'malign', 'p_1'), ('c_1.png', 'benign', 'p_2'),
            ('day_2/a.png', 'benign', 'p_1')]
    (tmp_path / 'day_2').mkdir()
    with open('labels.csv', 'w', newline='') as file:
        csv.writer(file).writerows([('file', 'class', 'patient'), *rows])
    for name, *_ in rows:
        Image.new('L', (9, 9)).save(name)
    source, groups = opened(TABLE, PATIENTS)
    assert source.class_names == ('benign', 'malign') and source.labels.tolist() == [0, 0, 0, 1]
    assert groups == [0, 0, 1, 0]


def test_stacks_of_12_bits_become_images_of_all_levels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('cell', 'debris'):
        (tmp_path / 'tiffs' / name).mkdir(parents=True)
        pages = [Image.fromarray(np.full((9, 9), value, np.uint16)) for value in (0, 4095)]
        pages[0].save(f'tiffs/{name}/x_1.tif', save_all=True, append_images=pages[1:])
    source, groups = opened(PAGES, STACKS)
    assert source.names == tuple(f'{kind}/x_1_{i}.png' for kind in ('cell', 'debris') for i in '01')
    assert [source[i]['image'].max() for i in range(4)] == [0, 255, 0, 255]
    assert groups == [0, 0, 1, 1]
