import io
import json

import numpy as np
from PIL import Image

from data import image_sets
from generation import export
from train import reporting

NAMES = ['a_b', 'dot/../%']


def made(reasons):
    """Rows as the synthesis makes them, each image of its own grey."""
    n = len(reasons)
    greys = np.arange(n, dtype=np.uint8)[:, None, None, None]
    return {'images': np.broadcast_to(greys, (n, 8, 8, 3)), 'labels': np.arange(n) % 2,
            'seeds': np.arange(n), 'reasons': np.array(reasons)}


def test_what_export_writes_is_shown_by_reason(tmp_path, monkeypatch):
    shown = {}
    monkeypatch.setattr(reporting.sheets, 'named', lambda rows: shown.update(rows) or b'png')
    export.write(tmp_path, made(['copy', 'off_class', '', 'surplus'] + ['far'] * 40), NAMES, {})
    counts = {'copy': 1, 'off_class': 1, 'far': 1040, 'surplus': 1}
    assert reporting._rejected_sheet(tmp_path, counts) == b'png'
    assert list(shown) == ['copy\n1 in all', 'off class\n1 in all', 'far\n1,040 in all']
    (name, pixels), = shown['off class\n1 in all']
    assert name == NAMES[1] and pixels.shape == (8, 8, 3) and (pixels == 1).all()
    names = [name for name, _ in shown['far\n1,040 in all']]
    assert len(names) == 12 and set(names) == set(NAMES)  # not only the first class
    assert len({pixels.tobytes() for _, pixels in shown['far\n1,040 in all']}) == 12


def test_a_run_without_rejected_images_has_no_sheet(tmp_path):
    export.write(tmp_path, made(['', 'surplus']), NAMES, {})
    assert reporting._rejected_sheet(tmp_path, {'surplus': 1}) is None
    assert reporting._rejected_sheet(tmp_path, {}) is None


def test_the_sheet_is_a_picture(tmp_path):
    export.write(tmp_path, made(['copy'] * 3), NAMES, {})
    png = reporting._rejected_sheet(tmp_path, {'copy': 3})
    assert Image.open(io.BytesIO(png)).height < 120


def test_classes_that_an_arm_without_real_images_never_sees():
    used = 'original', 'augmented', 'synthetic_only'
    assert reporting._unseen(used, np.array([3, 0]), NAMES) == {'synthetic_only': NAMES[1:]}
    assert reporting._unseen(used[:2], np.array([3, 0]), NAMES) == {}


def test_a_report_knows_which_test_images_belong_together(
    tmp_path, tiny_config, fake_images, monkeypatch
):
    given = {}
    monkeypatch.setattr(reporting.report, 'write', lambda *_, **more: given.update(more))
    rows = [{'step': 1, 'loss': 1, 'accuracy': 1}] + [
        {'step': step, 'val_loss': 1 + step, 'val_scaled_loss': 1 + step, 'val_accuracy': 0}
        for step in (1, 2)
    ]
    (tmp_path / 'metrics.jsonl').write_text(''.join(f'{json.dumps(row)}\n' for row in rows))
    copies = {'names': ['test:2.png', 'test:5.png'], 'pixels': 'equal', 'parted': 0,
              'action': 'kept: all in test'}
    parts = image_sets.Splits(fake_images(8), fake_images(4), fake_images(12), ('a', 'b'), [copies])
    config = tiny_config(**{
        'arms': ('original',), 'splits.group_by': '^.', 'classifier.select': 'best_validation_loss',
    })
    folders = {f'classifiers/original/seed_{seed}': tmp_path for seed in range(3)}
    reporting.write(tmp_path, config, parts, None, folders, {}, '')
    assert given['clusters'].tolist() == [0, 1, 2, 3, 4, 2, 5, 6, 7, 8, 1, 1]
    assert given['validation']['original']['loss']['mean'] == 2  # of the best step, not the last
