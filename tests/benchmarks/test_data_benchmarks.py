"""The benchmarks of data, start and scaling at their smallest: are all promised rows there?"""

import json
import sys

import jax
import numpy as np
import pytest

from benchmarks import backbones, common, decoding, input_pipeline, scaling, sized, startup, steps
from train import state

SMALLEST = {
    'data.source': 'digits', 'data.image_size': 8, 'generator.channels': 8, 'generator.blocks': 1,
    'generator.multipliers': (1,), 'generator.attention': (False,), 'generator.batch_size': 8,
    'classifier.batch_size': 8, 'classifier.widths': (4,), 'classifier.hidden': 8,
}


def written(folder, name):
    return json.loads((folder / f'{name}.json').read_text('utf-8'))


# Decoding -------------------------------------------------------------------------------------


def test_both_ways_of_decoding_have_a_time():
    kinds = (('JPEG', (64, 48), 3), ('PNG', (8, 8), 2))
    rows = decoding.measure(kinds, side=8, rounds=1)
    assert [row['images'] for row in rows] == ['3 JPEG of 64x48', '2 PNG of 8x8']
    for row in rows:
        assert row['x one by one'] == pytest.approx(row['one by one, ms'] / row['read, ms'])


# Input pipeline -------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def pipeline_rows():
    """The classifier's rows; without PyTorch, whose absence must not matter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, 'torch', None)
        patch.delitem(sys.modules, 'benchmarks.torch_loader', raising=False)
        patch.delattr('benchmarks.torch_loader', raising=False)
        return input_pipeline.measure(
            'classifier', steps.get_config('', SMALLEST), steps.picture_set(64, 8, 2),
            steps_each=2, rounds=1,
        )


def test_every_part_of_the_input_pipeline_has_a_row(pipeline_rows):
    cases = [row['case'].removeprefix('classifier: ') for row in pipeline_rows]
    assert cases == [
        'step, batches on the device',
        'step, batches on the host',
        'step, fed by the pipeline',
        'ordering',
        'ordering + gather',
        'ordering + gather + transfer',
        'ordering + gather + transfer + flip_shift',
        'ordering + gather + transfer + randaugment',
    ]
    assert all(row['images_per_s'] == pytest.approx(8e3 / row['ms']) for row in pipeline_rows)
    assert pipeline_rows[0]['of_appetite'] == 1


def test_the_share_of_waiting_is_the_difference_to_prepared_batches():
    ms = {
        'step, batches on the device': 6.0, 'step, batches on the host': 8.0,
        'step, fed by the pipeline': 10.0, 'ordering + gather': 1.0,
    }
    rows = [{'case': f'generator: {case}', 'ms': value} for case, value in ms.items()]
    assert input_pipeline.waiting(rows) == pytest.approx(
        {'for the pipeline': 0.2, 'for the transfer': 0.2, 'at most': 0.1}
    )


def test_the_table_is_written_as_json(tmp_path, pipeline_rows):
    common.report('input_pipeline', pipeline_rows, out=tmp_path, title='a title', notes=['a note'])
    found = written(tmp_path, 'input_pipeline')
    assert found['rows'] == pipeline_rows and found['notes'] == ['a note']
    assert found['hardware'] and found['versions']['jax']


def test_pytorch_gives_the_same_images_whichever_way_it_loads_them():
    torch_loader = pytest.importorskip('benchmarks.torch_loader', exc_type=ImportError)
    images = steps.picture_set(16, 8, 2)
    for workers in (0, None):
        seen, stream = [], torch_loader.endless(images, 8, workers)
        for pixels, labels in (next(stream) for _ in range(2)):
            assert pixels.shape == (8, 8, 8, 3) and labels.shape == (8,)
            seen += [image.tobytes() for image in pixels.numpy()]
        assert sorted(seen) == sorted(image.tobytes() for image in images.images)


def test_steps_go_on_from_the_state_they_reached():
    training = steps.make_training('generator', steps.get_config('', SMALLEST), 2)
    seen = []
    spy = training._replace(step=lambda state, batch: (state + batch, seen.append(state)),
                            initial=state.InitialState(jax.jit(lambda: 0)))
    feed = steps.feeder(spy, 2, lambda: iter([1, 10, 100, 1000]))
    feed()
    feed()
    assert seen == [0, 1, 11, 111] and training.batch_size == 8


# Start ----------------------------------------------------------------------------------------


def test_a_start_is_timed_part_by_part_cold_and_warm():
    rows = startup.measure(fields=SMALLEST, models=('classifier',))
    assert [row['start'] for row in rows] == ['classifier, cold', 'classifier, warm']
    parts = ('python', 'imports', 'devices', 'data', 'shapes', 'compile', 'first_step')
    for row in rows:
        assert all(row[part] >= 0 for part in parts)
        assert row['total'] == pytest.approx(sum(row[part] for part in parts))


def test_the_stages_of_a_run_are_read_in_their_order(tmp_path):
    stages = {'report': 1.0, 'classifiers/original/seed_0': 2.0, 'data': 1.0, 'generator': 4.0,
              'synthetic.unfinished': 9.0}
    for name, seconds in stages.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / 'stage.json').write_text(json.dumps({'seconds': seconds}), 'utf-8')
    rows = startup.read_run(tmp_path)
    assert [row['stage'] for row in rows] == [
        'data', 'generator', 'classifiers/original/seed_0', 'report', 'all stages'
    ]
    assert [row['share'] for row in rows] == [0.125, 0.5, 0.25, 0.125, 1.0]
    with pytest.raises(FileNotFoundError, match='no stage.json'):
        startup.read_run(tmp_path / 'nowhere')


# Backbones ------------------------------------------------------------------------------------


def test_both_backbones_have_the_same_time(monkeypatch):
    """At 1 and 3 ms a step, 6 ms are 6 and 2 steps; and the turns that are timed do run."""

    def turns(cases, **_):
        for case in cases.values():
            case()
        return {name: dict.fromkeys(('median', 'min', 'max'), 10.0 * ms)
                for name, ms in (('unet', 1), ('dit', 3))}

    trained, train = [], backbones._train
    timed, of_settings = [], steps.of_settings

    def idle(settings, *arguments):
        return of_settings(settings, *arguments)._replace(
            step=lambda state, batch: (state, timed.append(settings.backbone)),
            initial=state.InitialState(jax.jit(lambda: 0)),
        )

    monkeypatch.setattr(steps, 'of_settings', idle)
    monkeypatch.setattr(common, 'interleaved', turns)
    monkeypatch.setattr(backbones, '_train', lambda settings, parts: (
        trained.append((settings.backbone, settings.steps, settings.warmup_steps))
        or train(settings, parts)
    ))
    fields = SMALLEST | {'generator.width': 32, 'generator.depth': 1}
    rows = backbones.measure(steps.get_config('', fields), minutes=1e-4, steps_each=10, rounds=3)
    assert timed == ['unet'] * 10 + ['dit'] * 10
    assert trained == [('unet', 6, 0), ('dit', 2, 0)]
    assert [(row['backbone'], row['ms'], row['steps']) for row in rows] == [
        ('unet', 1.0, 6), ('dit', 3.0, 2)
    ]
    assert all(0 < row['best'] <= row['val_loss'] for row in rows)


# Scaling --------------------------------------------------------------------------------------


def test_steps_are_timed_on_forced_devices():
    rows = scaling.measure_devices(
        ((2, 1), (2, 2)), fields=SMALLEST, models=('classifier',), count=2, rounds=1
    )
    assert [(row['devices'], row['processes']) for row in rows] == [(2, 1), (2, 2)]
    assert rows[0]['speedup'] == 1 and rows[1]['speedup'] == rows[0]['ms'] / rows[1]['ms']
    assert rows[0]['images_per_s'] == pytest.approx(8e3 / rows[0]['ms'])


@pytest.mark.parametrize('work', sized.WORKS)
def test_every_work_runs_on_a_few_images(work, monkeypatch):
    monkeypatch.setattr(sized, 'LEAST_SECONDS', 0)  # once
    found = sized.measure(work, 40, 4)
    assert found['seconds'] > 0 and found['peak_mb'] > 50 and found['added_mb'] >= 0


def test_sizes_are_measured_in_processes_of_their_own():
    """One that fails is the last of its work, and remarked."""
    good, failed = scaling.measure_sizes((20, 1, 40), 2, works=('cut of labels',))
    assert good['images'] == 20 and good['seconds'] > 0 and good['remark'] == ''
    assert 'a classifier needs two' in failed['remark']


def test_quadratic_growth_stands_out():
    sizes = np.array([1_000, 10_000])
    rows = [
        {'images': int(n), 'seconds': (n / 1000) ** 2, 'added_mb': 1.0 + n / 1e4} for n in sizes
    ]
    assert scaling.exponent(rows[0], rows[1], 'seconds') == pytest.approx(2)
    assert scaling.exponent(None, rows[0], 'seconds') is None
    assert scaling.exponent(rows[0], rows[1], 'added_mb') is None  # 1 MB is noise
    assert scaling.remark({'seconds_exponent': 2.0, 'mb_exponent': None}) == (
        'seconds: worse than linear'
    )
