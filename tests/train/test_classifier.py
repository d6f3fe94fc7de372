import functools
import itertools
import json

import jax
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from data import augment, image_sets
from eval import predict
from models import cnn
from train import checkpoints, classifier, loop, parallel


def logged(folder, name):
    lines = map(json.loads, (folder / 'metrics.jsonl').read_text().splitlines())
    return {line['step']: line[name] for line in lines if name in line}


def train(folder, config, sets, shares=(1.0,), weights=(1.0,), validation=None, seed=0):
    return classifier.train(
        folder, config, sets, list(shares), list(weights), validation or sets[0],
        num_classes=2, seed=seed, update=lambda *_, **__: None,
    )


def same(a, b):
    return all(
        np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.fixture(scope='module')
def config(tiny_config):
    return tiny_config(**{
        'classifier.steps': 40, 'classifier.learning_rate': 1e-2, 'classifier.validate_every': 10,
        'classifier.save_every': 40, 'classifier.augment': 'flip_shift',
        'classifier.cosine_decay': False, 'classifier.select': 'best_validation_loss',
    }).classifier


@pytest.fixture(scope='module')
def short(tiny_config):
    return tiny_config(**{'classifier.steps': 3, 'classifier.select': 'last'}).classifier


@pytest.fixture(scope='module')
def trained(config, fake_images, tmp_path_factory):
    folder = tmp_path_factory.mktemp('classifier')
    return folder, *train(folder, config, [fake_images(8)], validation=fake_images(10, seed=1))


def test_the_cnn_learns_eight_images(trained, config, fake_images):
    folder, model, variables = trained
    losses = list(logged(folder, 'loss').values())
    assert len(losses) == 40 and np.mean(losses[-5:]) < 0.6 * losses[0]
    images = fake_images(8)
    probabilities, features = predict.predict(model, variables, images, config.batch_size)
    assert probabilities.shape == (8, 2) and features.shape == (8, config.hidden)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(1), images.labels)


def test_the_weights_of_lowest_validation_loss_are_chosen(trained, config, fake_images):
    folder, model, variables = trained
    values = logged(folder, 'val_loss')
    assert list(values) == [10, 20, 30, 40]
    held_out = fake_images(10, seed=1)
    probabilities, _ = predict.predict(model, variables, held_out, config.batch_size)
    found = predict.validation_metrics(probabilities, held_out.labels)['val_loss']
    assert found == pytest.approx(min(values.values()), rel=1e-4)


@pytest.mark.parametrize('select, counts', [
    ('last', [4, 4, 10]), ('best_validation_loss', [10, 10, 10])])
def test_what_decides_nothing_is_asked_of_some_validation_images(
        select, counts, tiny_config, fake_images, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, 'VALIDATED', 4)
    seen, metrics = [], predict.validation_metrics

    def counted(probabilities, labels, *rest):
        seen.append(len(labels))
        return metrics(probabilities, labels, *rest)

    monkeypatch.setattr(predict, 'validation_metrics', counted)
    settings = tiny_config(**{'classifier.steps': 5, 'classifier.validate_every': 2,
                              'classifier.select': select}).classifier
    train(tmp_path, settings, [fake_images(8)], validation=fake_images(10, seed=1))
    assert seen == counts


def test_load_gives_what_train_gave(trained, config):
    folder, model, variables = trained
    again, loaded = classifier.load(folder, config, 2)
    assert again == model and same(loaded, variables)


def test_a_prediction_is_the_same_in_any_batch(trained, fake_images):
    _, model, variables = trained
    images = fake_images(93, seed=2)
    whole = predict.predict(model, variables, images, 96)
    parts = predict.predict(model, variables, images, 6)  # made 8; more than are fetched at once
    for a, b in zip(whole, parts, strict=True):
        assert len(a) == 93
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert len(np.unique(whole[0][:, 0])) > 80  # or an order would not be seen


def test_validation_metrics_by_hand():
    probabilities, labels = np.array([[0.5, 0.5], [0.1, 0.9], [0.8, 0.2]]), np.array([0, 1, 1])
    found = predict.validation_metrics(probabilities, labels)
    assert found['val_loss'] == pytest.approx(-np.log([0.5, 0.9, 0.2]).mean())
    assert found['val_accuracy'] == pytest.approx(2 / 3)
    wrong = predict.validation_metrics(np.eye(2), np.array([1, 0]))
    assert np.isfinite(wrong['val_loss']) and wrong['val_scaled_loss'] < wrong['val_loss']


def test_a_network_that_leaves_the_prior_out_is_judged_with_it():
    """Two classes, one nine times as frequent: Bayes' posterior has the lowest loss."""
    rng = np.random.default_rng(0)
    labels = (rng.random(4000) < 0.1).astype(int)
    x = rng.normal(2.0 * labels)
    balanced = softmax(np.stack([-(x**2) / 2, -((x - 2) ** 2) / 2], -1), axis=-1)
    prior = np.array([0.9, 0.1])
    posterior = balanced * prior / (balanced * prior).sum(-1, keepdims=True)
    plain, right, known = (
        predict.validation_metrics(*given) for given in (
            (balanced, labels), (balanced, labels, prior), (posterior, labels))
    )
    assert right['val_loss'] == pytest.approx(known['val_loss']) and (
        right['val_loss'] < plain['val_loss'] - 0.1)
    assert right['val_accuracy'] == plain['val_accuracy']  # of what it predicts


def test_weights_of_images_count_in_the_prior(tiny_config, fake_images, monkeypatch, tmp_path):
    """An eighth of a batch at a loss weight of 1/2 is a sixteenth against seven eighths."""
    seen = []

    def build(config, num_classes, prior=None):
        seen.append(prior)
        raise InterruptedError

    monkeypatch.setattr(classifier, 'build', build)
    config = tiny_config(**{'classifier.logit_adjustment': 1.0}).classifier
    one = fake_images(8)
    sets = [image_sets.ImageSet(one.images, np.full(8, k, np.int32), one.names) for k in (0, 1)]
    with pytest.raises(InterruptedError):
        train(tmp_path, config, sets, shares=(7 / 8, 1 / 8), weights=(1.0, 0.5))
    assert seen == [pytest.approx((14 / 15, 1 / 15))]


def test_no_loss_that_is_a_number_is_no_best_step(short, fake_images):
    """It would be the weights of the start."""
    kept = {'params': 'start', 'model_state': {}, 'loss': np.inf, 'step': 0}
    last = {'params': 'last', 'model_state': {}}
    assert classifier.final_variables(last | {'best': kept})['params'] == 'last'
    kept['loss'] = 0.5
    assert classifier.final_variables(last | {'best': kept})['params'] == 'start'


def test_the_scaled_loss_does_not_ask_how_sure_a_network_is():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(2000, 5)), rng.integers(5, size=2000)
    logits[np.arange(2000), labels] += 1.5
    losses = [predict.scaled_loss(softmax(sure * logits, axis=-1), labels) for sure in (0.5, 1, 4)]
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-3)
    plain = -log_softmax(4 * logits, axis=-1)[np.arange(2000), labels].mean()
    assert losses[0] < plain
    drawn = [rng.choice(5, p=p) for p in softmax(logits, axis=-1)]  # labels by these: T is 1
    right = -log_softmax(logits, axis=-1)[np.arange(2000), drawn].mean()
    assert predict.scaled_loss(softmax(logits, axis=-1), np.array(drawn)) == pytest.approx(
        right, abs=2e-3)
    assert predict.scaled_loss(np.full((4, 5), 0.2), np.arange(4)) == pytest.approx(np.log(5))


def test_saved_predictions(tmp_path):
    path = tmp_path / 'predictions.npz'
    predict.save(path, np.eye(2, dtype='f4'), np.arange(2))
    assert [p.name for p in tmp_path.iterdir()] == ['predictions.npz']
    with np.load(path, allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored['probabilities'], np.eye(2))
        np.testing.assert_array_equal(stored['labels'], [0, 1])


def test_a_seed_is_a_run_and_another_is_another(tmp_path, short, fake_images):
    runs = [train(tmp_path / str(i), short, [fake_images(8)], seed=seed)[1]
            for i, seed in enumerate((0, 0, 1))]
    assert same(runs[0], runs[1]) and not same(runs[0], runs[2])


def test_images_of_weight_zero_are_not_learnt(tmp_path, short, fake_images):
    """The second set takes its share of the batch, but its pixels must not matter."""
    real, one, other = fake_images(8), fake_images(8, seed=5), fake_images(8, seed=6)
    first, second, heard = (
        train(tmp_path / name, short, [real, synthetic], (0.5, 0.5), (1.0, weight))[1]
        for name, synthetic, weight in (('a', one, 0.0), ('b', other, 0.0), ('c', other, 1.0))
    )
    assert same(first, second) and not same(second, heard)


def test_the_last_step_is_chosen_when_asked_for(tmp_path, short, fake_images):
    _, variables = train(tmp_path, short, [fake_images(8)])
    saved = checkpoints.load(tmp_path / 'checkpoints')
    assert 'best' not in saved and same(variables['params'], saved['params'])


@pytest.fixture
def seen(monkeypatch):
    """The batches that a classifier's loop is given, in a list that `classifier.train` fills."""
    batches = []

    def fit(initial, step, stream, config, **options):
        batches.extend(itertools.islice(stream(0), config.steps))
        return initial.make()

    monkeypatch.setattr(classifier.loop, 'fit', fit)
    return batches


def test_synthetic_images_have_their_share_and_weight_and_leave(
    tiny_config, fake_images, tmp_path, seen
):
    config = tiny_config(**{'classifier.steps': 8, 'classifier.synthetic_until': 0.5}).classifier
    classifier.train(
        tmp_path, config, [fake_images(8), fake_images(8, seed=1)], [0.5, 0.5], [1.0, 0.25],
        fake_images(8), num_classes=2, seed=0, update=None,
    )
    assert [int((batch['weight'] == 0.25).sum()) for batch in seen] == [4] * 4 + [0] * 4


def test_images_are_repeated_for_as_long_as_synthetic_ones_would_be_seen(
    tiny_config, fake_images, tmp_path, seen
):
    uneven = fake_images(20).take(np.arange(1, 20, 2)[:10].tolist() + [0, 2])
    assert sorted(np.bincount(uneven.labels)) == [2, 10]
    config = tiny_config(**{
        'classifier.steps': 40, 'classifier.synthetic_until': 0.5, 'classifier.batch_size': 8,
    }).classifier
    classifier.train(
        tmp_path, config, [uneven], [1.0], [1.0], uneven, num_classes=2, seed=0, update=None,
        class_counts=[10, 10],
    )
    rare = np.argmin(np.bincount(uneven.labels))
    labels = np.stack([batch['label'] for batch in seen])
    shares = [np.mean(part == rare) for part in (labels[:20], labels[20:])]
    np.testing.assert_allclose(shares, [1 / 2, 1 / 6], atol=0.02)


def test_resnet_learns_a_step_through_the_real_loop(
    tmp_path, tiny_config, fake_images, monkeypatch
):
    # a block a stage: all 15 compile for half a minute, and test_models_* count them
    network, own = classifier.NETWORKS['resnet32']
    shallow = functools.partial(network, width=8, blocks=1), own
    monkeypatch.setitem(classifier.NETWORKS, 'resnet32', shallow)
    config = tiny_config(**{'classifier.network': 'resnet32', 'classifier.steps': 1}).classifier
    images = fake_images(8)
    model, variables = train(tmp_path, config, [images])
    assert model.axis_name == parallel.AXIS
    statistics = jax.tree.leaves(variables['batch_stats'])
    assert statistics and all(np.isfinite(leaf).all() for leaf in statistics)
    first = variables['batch_stats']['BatchNorm_0']['mean']
    assert np.abs(first).max() > 0  # they were 0
    assert np.isfinite(list(logged(tmp_path, 'loss').values())).all()
    again, loaded = classifier.load(tmp_path, config, 2)
    assert same(loaded, variables)
    probabilities, features = predict.predict(again, loaded, images, 8)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert features.shape == (8, 32)


def loss_of(config, batch, prior=None):
    """(losses [b], logits [b, C]) of an untrained network without dropout on a batch."""
    model, images = classifier.make_model(config, 2), augment.to_float(batch['image'])
    variables = jax.jit(model.init)(jax.random.key(0), images)
    keys = jax.random.split(jax.random.key(1), len(batch['label']))
    loss_fn = jax.jit(classifier.make_loss(model, config, prior))
    losses, _ = loss_fn(variables['params'], {}, batch, keys)
    return losses, jax.jit(model.apply)(variables, images)[0]


def test_logit_adjustment_by_hand(tiny_config, fake_images):
    """-log softmax(logits + tau log prior), equation 10 of Menon et al."""
    images = fake_images(6)
    batch = {'image': images.images, 'label': images.labels}
    fields = {'classifier.dropout': 0.0, 'classifier.logit_adjustment': 0.5}
    losses, logits = loss_of(tiny_config(**fields).classifier, batch, (0.9, 0.1))
    odds = np.exp(np.asarray(logits, float)) * np.sqrt([0.9, 0.1])
    expected = -np.log(odds[np.arange(6), images.labels] / odds.sum(1))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_the_prior_is_that_of_the_images_drawn(fake_images):
    first = image_sets.ImageSet(fake_images(8).images, np.int32([0] * 6 + [1] * 2), ('',) * 8)
    second = image_sets.ImageSet(fake_images(4).images, np.int32([1] * 4), ('',) * 4)
    assert classifier.class_prior([first], [1.0], 2) == pytest.approx((0.75, 0.25))
    mixed = classifier.class_prior([first, second], [0.5, 0.25], 2)
    assert mixed == pytest.approx((0.5, 0.5))
    assert classifier.class_prior([first], [1.0], 2, np.array([6, 6])) == pytest.approx((0.5, 0.5))
    absent = classifier.class_prior([first], [1.0], 3)
    assert absent == pytest.approx((6 / 9, 2 / 9, 1 / 9))


def test_the_adjustment_helps_the_rare_class_and_predictions_do_without_it(
    tmp_path, tiny_config, fake_images
):
    """Noise whose label is 0 nine times in ten: only the prior can be learnt, or be left out."""
    images = fake_images(100, classes=1)
    images = image_sets.ImageSet(images.images, np.int32([0] * 90 + [1] * 10), images.names)
    config = tiny_config(**{
        'classifier.steps': 60, 'classifier.validate_every': 60, 'classifier.save_every': 60,
        'classifier.learning_rate': 1e-2, 'classifier.batch_size': 32,
        'classifier.select': 'last', 'classifier.logit_adjustment': 1.0,
    }).classifier
    model, variables = train(tmp_path, config, [images])
    probabilities, _ = predict.predict(model, variables, images, 32)
    assert probabilities[:, 1].mean() == pytest.approx(0.5, abs=0.15)  # not 0.1, as in the labels
    own = predict.validation_metrics(probabilities, images.labels, [0.9, 0.1])['val_loss']
    assert logged(tmp_path, 'val_loss')[60] == pytest.approx(own, rel=1e-4)


def test_randaugment_changes_what_is_trained_on_only(tiny_config, fake_images):
    images = augment.to_float(fake_images(4).images)
    keys = jax.random.split(jax.random.key(0), 4)
    plain, strong = (
        jax.jit(classifier.augment_images, static_argnums=2)(keys, images, tiny_config(**{
            'classifier.augment': name, 'classifier.augment_shift': 0.0,
            'classifier.augment_flip': False, 'classifier.cutout': 0.5,
        }).classifier)
        for name in ('flip_shift', 'randaugment')
    )
    np.testing.assert_array_equal(plain, images)
    assert (strong == 0).all(-1).any((1, 2)).all()  # the grey square of each


def test_models_of_the_config(tiny_config):
    config = tiny_config().classifier
    model = classifier.make_model(config, 7)
    assert isinstance(model, cnn.CNN) and model.num_classes == 7 and model.widths == (4,)


def test_final_variables():
    last = {'params': {'w': 1}, 'model_state': {'batch_stats': {'m': 2}}}
    best = {'params': {'w': 3}, 'model_state': {'batch_stats': {'m': 4}}, 'loss': 0.1, 'step': 5}
    assert classifier.final_variables(last) == {'params': {'w': 1}, 'batch_stats': {'m': 2}}
    assert classifier.final_variables({**last, 'best': None}) == classifier.final_variables(last)
    chosen = classifier.final_variables({**last, 'best': best})
    assert chosen == {'params': {'w': 3}, 'batch_stats': {'m': 4}}
    assert classifier.final_variables({'params': {'w': 1}}) == {'params': {'w': 1}}


def test_image_sets_are_left_as_they_are(tmp_path, short, fake_images):
    images = fake_images(8)
    images.images.setflags(write=False)
    before = images.images.copy()
    train(tmp_path, short, [images])
    np.testing.assert_array_equal(images.images, before)
    assert isinstance(images, image_sets.ImageSet)


def test_the_settings_reach_the_optimizer(tiny_config, monkeypatch):
    given = {}
    monkeypatch.setattr(classifier.state_lib, 'make_step', lambda *_: None)
    monkeypatch.setattr(classifier.state_lib, 'make_optimizer', lambda **all: given.update(all))
    settings = {'learning_rate': 0.3, 'steps': 7, 'weight_decay': 0.5}
    others = {'optimizer': 'sgd', 'warmup_steps': 3, 'cosine_decay': True}
    fields = {f'classifier.{name}': value for name, value in (settings | others).items()}
    classifier.build.__wrapped__(tiny_config(**fields).classifier, 2)
    assert given == settings | {'name': 'sgd', 'warmup': 3, 'cosine': True}


def test_a_seed_draws_weights_keys_and_order(tiny_config, fake_images, tmp_path, seen):
    config = tiny_config().classifier
    model, optimizer, _ = classifier.build(config, 2)
    one, other = (
        classifier.initial_state(model, optimizer, config, (8, 8, 3), seed).make()
        for seed in (0, 1)
    )
    assert not np.array_equal(one.rng, other.rng)
    kernels = [state.params['Conv_0']['kernel'] for state in (one, other)]
    assert not np.array_equal(*kernels)
    for seed in (0, 1):
        classifier.train(tmp_path, config, [fake_images(40)], [1.0], [1.0], fake_images(8),
                         num_classes=2, seed=seed, update=None)
    assert not np.array_equal(seen[0]['image'], seen[len(seen) // 2]['image'])
