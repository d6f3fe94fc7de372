"""Generator, judge and check without a test split: to look at it would be an error."""

import functools
import json

import numpy as np
import pytest

from data import image_sets, parting
from generation import export, quality
from train import arms, generating, judging, synthesizing


@pytest.fixture(scope='module')
def parts(fake_images):
    return image_sets.Splits(fake_images(40), fake_images(20, seed=1), None, ('a', 'b'))


@pytest.fixture(scope='module')
def trained(parts, tiny_config, tmp_path_factory):
    """The folders of a judge and of a generator whose samples it has looked at."""
    folder, config = tmp_path_factory.mktemp('trained'), tiny_config(**{
        'generator.sample_every': 2, 'quality.min_relevance': 0.0,
        'quality.max_distance_quantile': 1.0,
    })
    judging.train_judge(folder / 'judge', config, parts)
    generating.train_generator(folder / 'generator', config, parts, folder / 'judge')
    return folder / 'judge', folder / 'generator'


def test_copies_are_dropped_and_test_images_never_looked_at(
    parts, trained, fake_images, tiny_config, tmp_path, monkeypatch
):
    """Every second image that the generator is made to draw is one of the training images."""
    config = tiny_config(**{'quality.min_relevance': 0.0, 'quality.max_distance_quantile': 1.0})
    (judge, made_by), out = trained, tmp_path / 'synthetic'
    out.mkdir()
    fresh = fake_images(400, seed=2).images

    def draw(params, labels, seeds, progress, once):
        copied = (seeds // 2 % 2 == 0)[:, None, None, None]
        images = np.where(copied, parts.train.images[seeds % 40], fresh[seeds])
        return once({'seed': seeds}, lambda: images)

    monkeypatch.setattr(synthesizing, 'make_draw', lambda *_: draw)
    synthesizing.make_images(out, config, parts, np.array([6, 6]), made_by, judge)
    found = json.loads((out / 'quality.json').read_text('utf-8'))
    images, _, _ = export.read(out)
    assert len(images) == 12 and found['rejected']['copy'] >= 6
    known = {image.tobytes() for image in parts.train.images}
    assert not known & {image.tobytes() for image in images}
    assert found['copy_rate'] > 0.4 and found['real_heldout_copy_rate'] <= 0.1  # one of 20, or two


def test_judge_and_generator_learn_from_the_training_images_alone(
    parts, tiny_config, tmp_path, monkeypatch
):
    config, found = tiny_config(**{'generator.sample_every': 0}), {}
    spy = lambda *given, **more: found.update(given=given, **more)  # noqa: E731
    for module in (generating.generator, judging.classifier):
        monkeypatch.setattr(module, 'train', spy)
    judging.train_judge(tmp_path, config, parts)
    _, _, sets, shares, weights, validation = found['given']
    assert sets == [parts.train] and validation is parts.validation
    assert shares == weights == [1.0] and found['seed'] == arms.JUDGE_SEED
    generating.train_generator(tmp_path, config, parts, tmp_path)
    assert found['given'][2] is parts.train and found['given'][3] is parts.validation


def test_drawing_goes_on_where_it_was_interrupted(
    parts, trained, tiny_config, tmp_path, monkeypatch
):
    """With the images that were drawn, but for a batch that was damaged; the end is the same."""
    config = tiny_config(**{
        'synthesis.batch_size': 8, 'synthesis.steps': 2, 'synthesis.rounds': 2,
        'quality.min_relevance': 0.0, 'quality.max_distance_quantile': 1.0,
    })
    judge, made_by = trained
    make_draw, drawn = synthesizing.make_draw, []

    def make(name, most):
        """How many batches it takes to fill `name`; after `most` it is interrupted."""

        def limited(*settings):
            def one(once, batch, draw):
                def counted():
                    if len(drawn) == most:
                        raise KeyboardInterrupt
                    drawn.append(batch)
                    return draw()

                return once(batch, counted)

            draw = make_draw(*settings)
            return lambda *arguments: draw(*arguments[:-1], functools.partial(one, arguments[-1]))

        drawn.clear()
        monkeypatch.setattr(synthesizing, 'make_draw', limited)
        (tmp_path / name).mkdir(exist_ok=True)
        arguments = config, parts, np.array([12, 9]), made_by, judge
        synthesizing.make_images(tmp_path / name, *arguments)
        return len(drawn)

    whole = make('whole', np.inf)
    with pytest.raises(KeyboardInterrupt):
        make('parts', 2)
    kept = sorted((tmp_path / 'parts' / 'drawn').iterdir())
    assert whole > len(kept) == 2
    kept[0].write_bytes(kept[0].read_bytes()[:-200])
    monkeypatch.setattr(synthesizing.loop.StopSignal, 'requested', True, raising=False)
    monkeypatch.setattr(synthesizing.loop.StopSignal, '__enter__', lambda self: self)
    monkeypatch.setattr(synthesizing.loop.StopSignal, '__exit__', lambda *_: None)
    with pytest.raises(synthesizing.loop.Interrupted):  # whatever is there to be read
        make('parts', np.inf)
    monkeypatch.setattr(synthesizing.loop.StopSignal, 'requested', False)
    assert make('parts', np.inf) == whole - 1
    one, other = (
        {path.relative_to(tmp_path / name): path.read_bytes()
         for path in (tmp_path / name).rglob('*') if path.is_file()}
        for name in ('whole', 'parts')
    )
    assert one == other and not (tmp_path / 'parts' / 'drawn').exists()


def test_each_rule_of_the_check_rejects_what_it_is_for(fake_images, tiny_config):
    config = tiny_config(**{
        'quality.min_relevance': 0.5, 'quality.relevance_from': 1, 'quality.copy_ratio': 0.5,
        'quality.duplicate_ratio': 0.1, 'quality.max_distance_quantile': 1.0,
        'quality.min_contrast': 4.0, 'quality.max_saturated': 0.5,
    })
    train, held_out, new = (fake_images(40, seed=seed) for seed in range(3))

    def judge(images, labels):  # features: the mean of each half; sees no class in row 4
        halves = np.asarray(images, np.float32).reshape(len(images), 2, -1).mean(2)
        return np.where(np.arange(len(images)) == 4, 0.1, 0.9)[:, None].repeat(2, 1), halves

    reference = quality.Reference(
        train.images, train.labels, judge(train.images, train.labels)[1], held_out.images,
        held_out.labels, judge(held_out.images, held_out.labels)[1],
    )
    limits = quality.duplicate_limits(train.images, train.labels, 2, 0.1)
    check, _ = judging.make_check(config.quality, judge, reference, limits)
    images, labels = new.images[:8].copy(), new.labels[:8]
    images[0] = 60  # without any contrast
    images[1] = np.where(images[1] > 127, 255, 0)
    images[2] = train.images[2]
    images[3] = new.images[9]  # of the accepted one with a grey level of another
    images[5, :4] = images[5, 4:] // 2
    accepted = new.images[9:10].copy()
    accepted[0, 0, 0] += 1
    reasons, _ = check(images, labels, accepted, new.labels[9:10])
    assert reasons.tolist() == [
        'blank', 'saturated', 'copy', 'duplicate', 'off_class', 'far', '', ''
    ]


def test_classes_that_the_judge_cannot_know_are_not_asked_of_it(fake_images, tiny_config):
    """Of the class 'b' it has one image fewer than it takes."""
    config = tiny_config(**{
        'quality.relevance_from': 20, 'quality.min_relevance': 0.9, 'quality.copy_ratio': 0.0,
        'quality.max_distance_quantile': 1.0, 'quality.min_contrast': 0.0,
    })
    both = fake_images(40)
    labels = both.labels.copy()
    labels[:] = 0
    labels[:19] = 1
    train = image_sets.ImageSet(both.images, labels, both.names)
    parts = image_sets.Splits(train, fake_images(20, seed=1), None, ('a', 'b'))
    features = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    reference = quality.Reference(
        train.images, labels, features, parts.validation.images, parts.validation.labels,
        features[:20],
    )

    def judge(images, labels):  # sees neither class
        return np.full((len(images), 2), 0.5), features[: len(images)]

    check, thresholds = judging.make_check(config.quality, judge, reference, np.zeros(2))
    asked = fake_images(8, seed=2)
    empty = asked.images[:0], asked.labels[:0]
    reasons, _ = check(asked.images, np.array([0, 1] * 4), *empty)
    assert thresholds['min_relevance'] == 0.9
    assert set(reasons[::2]) == {'off_class'} and 'off_class' not in reasons[1::2]
    found, _ = judging.measure(
        config, parts, {'reasons': np.array([]), 'images': asked.images[:0],
                        'pixel_ratio': np.zeros(0), 'feature_ratio': np.zeros(0)},
        judge, reference)
    assert found['unasked'] == ['b'] and found['judge']['validation_images'] == 20
    share = (parts.validation.labels == 0).mean()  # argmax of a tie is the first, the larger, too
    assert found['judge']['accuracy'] == found['judge']['largest_class'] == share


def test_the_judge_goes_by_its_own_settings(tiny_config):
    """Classifiers can be tuned, and the synthetic images stay what they were."""
    reads = judging.depends(tiny_config())
    of_classifiers = {
        'steps': 3, 'dropout': 0.1, 'learning_rate': 1.0, 'augment': 'randaugment', 'seeds': 9,
        'logit_adjustment': 1.0, 'synthetic_until': 1.0, 'init_from': 'runs/other',
    }
    for name, value in of_classifiers.items():
        assert judging.depends(tiny_config(**{f'classifier.{name}': value})) == reads
    for name, value in {'steps': 3, 'dropout': 0.1, 'widths': (8,)}.items():
        assert judging.depends(tiny_config(**{f'judge.{name}': value})) != reads


def test_what_classifiers_do_not_have_of_a_judge_is_trained(parts, tiny_config, tmp_path):
    """A network, a length and a batch of its own, from training to its features."""
    config = tiny_config(**{
        'judge.hidden': 5, 'judge.steps': 3, 'judge.batch_size': 16,
        'classifier.logit_adjustment': 1.0, 'classifier.synthetic_until': 1.0,
    })
    judging.train_judge(tmp_path, config, parts)
    _, reference, _ = judging.open_judge(tmp_path, config, parts)
    assert reference.features.shape == (40, 5)
    rows = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    assert rows[-1]['step'] == 3


def test_a_copy_of_a_picture_with_two_labels_is_found(tiny_config, tmp_path, fake_images):
    """It stands in the training set twice, near to both of which its copy is no copy of one."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(20, 236, (60, 8, 8, 3), np.uint8)
    pictures[1] = pictures[0]  # and classes alternate
    labels = np.arange(60, dtype=np.int32) % 2
    whole = image_sets.ImageSet(pictures, labels, tuple(map(str, range(60))))
    sets = {'train': whole, 'validation': fake_images(20, seed=1), 'test': whole.take(slice(0))}
    sets, records = parting.part_duplicates(sets, ('a', 'b'), True, 0.995)
    assert [record['names'] for record in records] == [['train:0', 'train:1']]
    parts = image_sets.Splits(**sets, class_names=('a', 'b'), duplicates=records)
    config = tiny_config()
    judging.train_judge(tmp_path, config, parts)
    judge, reference, _ = judging.open_judge(tmp_path, config, parts)
    noisy = np.clip(pictures[:3] + rng.normal(0, 3, (3, 8, 8, 3)), 0, 255).astype(np.uint8)
    ratio, _ = quality.neighbours(noisy, judge(noisy, np.zeros(3))[1], reference)['pixels']
    assert (ratio < 1 / 3).all()


FIELDS = {'seed': 1, 'sampler': 'ddpm', 'steps': 5, 'spacing': 'uniform', 'guidance_scale': 3.0,
          'guidance_interval': (0.5, 1.0)}


def test_what_synthesis_says_reaches_the_images(parts, tiny_config, monkeypatch):
    """Of a network that makes of x_t what its class says: another field, other images."""

    def predict_x0(params, x_t, log_snr, labels):
        level = labels[:, None, None, None] / 4 - 0.5
        return params['gain'] * x_t / (1 + abs(x_t)) + level

    monkeypatch.setattr(synthesizing.generator, 'make_predict_x0', lambda *_: predict_x0)
    labels, seeds = np.arange(8) % 4, np.arange(8)

    def draw(**fields):
        config = tiny_config(**{'synthesis.steps': 4} | fields)
        draw = synthesizing.make_draw(config, parts)
        return draw({'gain': np.float32(0.6)}, labels, seeds)

    usual = draw()
    assert (draw() == usual).all()
    same = [name for name, value in FIELDS.items()
            if (draw(**{f'synthesis.{name}': value}) == usual).all()]
    assert not same


def test_a_run_without_an_accepted_image_is_told_so(tmp_path):
    (tmp_path / 'quality.json').write_text('{"made": 9, "accepted": 1}')
    synthesizing.require_some(tmp_path)
    (tmp_path / 'quality.json').write_text('{"made": 9, "accepted": 0}')
    with pytest.raises(ValueError, match='no synthetic image passed the quality check'):
        synthesizing.require_some(tmp_path)
