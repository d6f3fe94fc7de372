import functools
import itertools
import json
import os
import signal

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from data import augment
from generation import diffusion
from train import checkpoints, generator, loop, parallel

STEPS, CLASSES = 60, 2


def silent_loss(images, prediction):
    """The expected loss of a network that always says 0: the weighted square of the target."""
    t = (np.arange(4000) + 0.5) / 4000
    snr = np.exp(np.asarray(diffusion.log_snr(jnp.asarray(t), 'cosine'), np.float64))
    alpha2, sigma2 = snr / (1 + snr), 1 / (1 + snr)
    power = float(np.square(augment.to_float(images.images)).mean())
    square = {'eps': 1 / snr, 'x0': power, 'v': (alpha2 + sigma2 * power) / (snr + 1)}
    return (np.minimum(snr, 5.0) * square[prediction]).mean()


def logged(folder, name):
    lines = map(json.loads, (folder / 'metrics.jsonl').read_text().splitlines())
    return {line['step']: line[name] for line in lines if name in line}


@pytest.fixture(scope='module')
def config(tiny_config):
    return tiny_config(**{
        'generator.steps': STEPS, 'generator.learning_rate': 1e-2, 'generator.ema_decay': 0.9,
        'generator.batch_size': 16, 'generator.save_every': 40, 'generator.validate_every': 20,
        'generator.augment_flip': True, 'generator.augment_shift': 0.13, 'generator.dropout': 0.1,
        'generator.augment_probability': 0.3, 'generator.channels': 16, 'generator.warmup_steps': 5,
        'generator.prediction': 'v',  # with x0 the classes take longer than these steps
    }).generator


@pytest.fixture(scope='module')
def trained(config, fake_images, tmp_path_factory):
    """(folder, progress calls) of a generator that overfits 8 images, validated on the same."""
    folder, calls = tmp_path_factory.mktemp('generator'), []
    generator.train(
        folder, config, fake_images(8), fake_images(8), num_classes=CLASSES,
        update=lambda done, total, **values: calls.append((done, total, values.get('loss'))),
    )
    return folder, calls


@pytest.fixture(scope='module')
def loss_fn(config):
    return jax.jit(generator.make_loss(generator.make_model(config, CLASSES), config),
                   static_argnames='train')


def test_the_loss_falls(trained):
    folder, calls = trained
    losses = np.array(list(logged(folder, 'loss').values()))
    assert len(losses) == STEPS and np.isfinite(losses).all()
    assert losses[-15:].mean() < losses[:15].mean()
    assert [call[:2] for call in calls] == [(step, STEPS) for step in range(STEPS + 1)]
    assert calls[0][2] is None  # where it starts, before the first step
    np.testing.assert_allclose([call[2] for call in calls[1:]], losses)


def test_the_validation_loss_falls(trained, config, fake_images):
    values = logged(trained[0], 'val_loss')
    assert list(values) == [20, 40, 60]
    assert values[20] > values[40] > values[60]
    assert values[60] < 0.85 * silent_loss(fake_images(8), config.prediction)


def test_load_gives_the_average(trained, config):
    folder, _ = trained
    assert checkpoints.steps(folder / 'checkpoints') == [40, STEPS]
    network, (params, _) = generator.make_model(config, CLASSES), generator.load(folder)
    saved = checkpoints.load(folder / 'checkpoints')
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(saved['ema']), strict=True):
        np.testing.assert_array_equal(a, b)
    assert network == generator.make_model(config, CLASSES)


def test_another_generator_is_a_start_and_only_where_it_is_asked_for(trained, config):
    model, optimizer, _ = generator.build(config, CLASSES)
    params, _ = generator.load(trained[0])
    begin = lambda **start: generator.initial_state(  # noqa: E731
        model, optimizer, config, (8, 8, 3), **start).make()
    fresh, started = begin(), begin(init=params)
    alike = lambda a, b: all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))  # noqa: E731
    assert alike(started.params, params) and alike(started.ema, params)
    assert alike(started.opt_state, fresh.opt_state) and not alike(fresh.params, params)
    assert alike(begin().params, fresh.params)


def test_the_denoiser_knows_the_classes(trained, config):
    """Out of noise alone it must guess a dark image, a light one, and one between without class."""
    network, (params, _) = generator.make_model(config, CLASSES), generator.load(trained[0])
    predict = jax.jit(generator.make_predict_x0(network, config))
    noise = jax.random.normal(jax.random.key(0), (16, 8, 8, 3))
    level = jnp.full(16, -6.0)
    dark, light, unknown = (
        float(predict(params, noise, level, jnp.full(16, label)).mean()) for label in (0, 1, 2)
    )
    assert dark < unknown < light and light - dark > 0.2


def test_validation_draws_the_same_noise_every_time(trained, config, loss_fn, fake_images):
    folder, _ = trained
    params, _ = generator.load(folder)
    evaluate = generator._make_evaluate(loss_fn, fake_images(8), config.batch_size)

    class Current:
        ema = params

    assert evaluate(Current)['val_loss'] == evaluate(Current)['val_loss']
    assert evaluate(Current)['val_loss'] == pytest.approx(logged(folder, 'val_loss')[60], rel=1e-3)


def test_of_many_validation_images_some_of_all_classes_are_looked_at(fake_images, monkeypatch):
    monkeypatch.setattr(loop, 'VALIDATED', 8)
    images, seen = fake_images(32), []
    images = images.take(np.argsort(images.labels, kind='stable'))  # in order, as real ones lie

    def loss_fn(params, model_state, batch, keys, train):
        jax.debug.callback(lambda labels: seen.extend(labels.tolist()), batch['label'])
        return jnp.ones(len(batch['label'])), None

    class Current:
        ema = jnp.zeros(parallel.local_device_count())

    evaluate = generator._make_evaluate(loss_fn, images, parallel.round_up(8))
    assert evaluate(Current)['val_loss'] == pytest.approx(1.0)
    jax.effects_barrier()
    assert len(seen) == 8 and set(seen) == set(images.labels.tolist())


def test_each_look_at_a_validation_image_has_noise_of_its_own(fake_images):
    """A loss that is a uniform number: one look at an image, and the mean of 64."""

    def loss_fn(params, model_state, batch, keys, train):
        return jax.vmap(jax.random.uniform)(keys), None

    class Current:
        ema = jnp.zeros(parallel.local_device_count())

    one, many = (
        generator._make_evaluate(loss_fn, fake_images(1), parallel.round_up(1), repeats)(Current)
        for repeats in (1, 64)
    )
    assert many['val_loss'] == pytest.approx(0.5, abs=0.15)  # four standard errors
    assert abs(many['val_loss'] - one['val_loss']) > 1e-3


def batch_and_keys(fake_images, labels=None):
    images = fake_images(8)
    labels = images.labels if labels is None else np.full(8, labels, np.int32)
    batch = {'image': images.images, 'label': labels}
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(1), jnp.arange(8))
    return batch, keys


def test_an_example_is_lost_by_itself(trained, config, loss_fn, fake_images):
    """Its loss depends on its image, label and key, not on the rest of the batch."""
    params, _ = generator.load(trained[0])
    batch, keys = batch_and_keys(fake_images)
    losses, (model_state, _) = loss_fn(params, {}, batch, keys)
    assert losses.shape == (8,) and model_state == {}
    order = np.random.default_rng(0).permutation(8)
    again, _ = loss_fn(params, {}, {name: x[order] for name, x in batch.items()}, keys[order])
    np.testing.assert_allclose(again, losses[order], rtol=1e-3)


@pytest.mark.parametrize('prediction', diffusion.PREDICTIONS)
def test_the_loss_of_a_silent_network_is_that_of_its_formula(config, fake_images, prediction):
    """Zero output at initialisation: the weighted square of the target itself."""
    config = ml_collections.FrozenConfigDict(config.to_dict() | {'prediction': prediction})
    model = generator.make_model(config, CLASSES)
    loss_fn = generator.make_loss(model, config)
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype),
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)), jnp.zeros(1),
                       jnp.zeros(1, jnp.int32), jnp.zeros((1, augment.CONDITION_SIZE))),
    )['params']
    loss = jax.jit(lambda *args: loss_fn(args[0], {}, *args[1:], train=False)[0])
    batch, _ = batch_and_keys(fake_images)
    draws = []
    for seed in range(60):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(8))
        draws.append(loss(zeros, batch, keys))
    assert np.mean(draws) == pytest.approx(silent_loss(fake_images(8), prediction), rel=0.05)


def test_validation_has_no_dropout_and_no_augmentation(
    trained, tiny_config, config, loss_fn, fake_images
):
    params, _ = generator.load(trained[0])
    fields = {f'generator.{name}': value for name, value in config.items()} | {
        'generator.dropout': 0.0, 'generator.label_dropout': 0.0, 'generator.augment_flip': False,
        'generator.augment_shift': 0.0,
    }
    bare = tiny_config(**fields).generator
    plain = jax.jit(generator.make_loss(generator.make_model(bare, CLASSES), bare))
    batch, keys = batch_and_keys(fake_images)
    expected, _ = plain(params, {}, batch, keys)
    found, _ = loss_fn(params, {}, batch, keys, train=False)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert not np.allclose(loss_fn(params, {}, batch, keys)[0], expected, rtol=2e-3)


def test_label_dropout_hides_the_label(trained, tiny_config, config, fake_images):
    params, _ = generator.load(trained[0])
    model = generator.make_model(config, CLASSES)
    losses = {}
    for rate in (0.0, 0.999999):
        fields = {f'generator.{name}': value for name, value in config.items()}
        changed = tiny_config(**fields | {'generator.label_dropout': rate}).generator
        loss = jax.jit(generator.make_loss(model, changed))
        losses[rate] = [
            np.asarray(loss(params, {}, *batch_and_keys(fake_images, label))[0]) for label in (0, 1)
        ]
    np.testing.assert_array_equal(*losses[0.999999])
    assert not np.allclose(*losses[0.0], rtol=2e-3)


def test_bfloat16_learns_as_float32_does_and_keeps_float32_weights(
    trained, config, fake_images, tmp_path
):
    fields = config.to_dict() | {'dtype': 'bfloat16', 'steps': 12}
    generator.train(
        tmp_path, ml_collections.FrozenConfigDict(fields), fake_images(8), fake_images(8),
        num_classes=CLASSES, update=lambda *_, **__: None,
    )
    # while the learning rate rises, it is that of the longer training
    first = config.warmup_steps + 1
    losses, expected = (
        list(logged(folder, 'loss').values())[:first] for folder in (tmp_path, trained[0])
    )
    assert losses != expected
    np.testing.assert_allclose(losses, expected, rtol=0.02)
    saved = checkpoints.load(tmp_path / 'checkpoints')
    weights = jax.tree.leaves([saved['ema'], saved['params']])
    assert {leaf.dtype for leaf in weights} == {np.dtype(np.float32)}


def test_the_model_of_the_config(tiny_config):
    model = generator.make_model(tiny_config(**{'generator.dtype': 'bfloat16'}).generator, 5)
    assert model.dtype == jnp.bfloat16 and model.num_classes == 5


class Stub:
    """The smallest network with a table of classes and an ear for augmentation."""

    num_classes = CLASSES
    params = {'class': jnp.array([0.5, -0.3, 0.1]), 'told': jnp.full(augment.CONDITION_SIZE, 0.2)}

    def __init__(self):
        self.calls = 0

    def apply(self, variables, x_t, log_snr, label, condition, keys=None):
        self.calls += 1
        params = variables['params']
        return diffusion.expand(params['class'][label] + condition @ params['told']) * x_t


def learn(tiny_config, batch_and_keys, params=Stub.params, **changes):
    """(losses [8], their gradient, network evaluations) of the stub under changed fields."""
    config = tiny_config(**{f'generator.{k}': v for k, v in changes.items()}).generator
    stub = Stub()
    loss = generator.make_loss(stub, config)
    total, pull = jax.vjp(lambda p: loss(p, {}, *batch_and_keys)[0], params)
    return np.asarray(total), pull(jnp.ones(8))[0], stub.calls


def test_class_balancing_is_nothing_where_classes_are_alike(tiny_config, fake_images):
    data = batch_and_keys(fake_images)
    alike = Stub.params | {'class': jnp.full(3, 0.5)}
    for params, equal in ((Stub.params, False), (alike, True)):
        off, slope_off, _ = learn(tiny_config, data, params)
        on, slope_on, _ = learn(tiny_config, data, params, cbdm_weight=0.01)
        assert (on >= off).all() and np.array_equal(on, off) == equal
        assert np.allclose(slope_on['class'], slope_off['class']) == equal


def test_class_balancing_teaches_the_class_that_is_drawn(tiny_config, fake_images):
    """From images of class 0, class 1 learns by the commitment alone; "no class" takes no part."""
    data = batch_and_keys(fake_images, 0)
    reach = lambda **changes: np.asarray(learn(tiny_config, data, **changes)[1]['class']) != 0  # noqa: E731
    shown = {'label_dropout': 0.0}
    np.testing.assert_array_equal(reach(**shown), [1, 0, 0])
    np.testing.assert_array_equal(reach(cbdm_weight=0.001, cbdm_commitment=0.0, **shown), [1, 0, 0])
    np.testing.assert_array_equal(reach(cbdm_weight=0.001, **shown), [1, 1, 0])
    np.testing.assert_array_equal(reach(cbdm_weight=0.001, label_dropout=0.999999), [0, 0, 1])


def test_class_balancing_costs_nothing_when_off(tiny_config, fake_images):
    data = batch_and_keys(fake_images)
    assert learn(tiny_config, data)[2] == 1
    assert learn(tiny_config, data, cbdm_weight=0.001)[2] == 2


@pytest.mark.parametrize(
    ('fields', 'told'),
    [
        ({}, [0, 0, 0, 0, 0]),
        ({'augment_rotate': 10.0}, [0, 0, 0, 1, 0]),
        ({'augment_rotate': 10.0, 'augment_scale': 0.1, 'augment_flip': True}, [1, 0, 0, 1, 1]),
        ({'augment_scale': 0.1, 'augment_shift': 0.2}, [0, 1, 1, 0, 1]),
    ],
)
def test_the_network_is_told_of_the_augmentation(tiny_config, fake_images, fields, told):
    data = batch_and_keys(fake_images)
    slope = learn(tiny_config, data, augment_probability=0.999, **fields)[1]['told']
    np.testing.assert_array_equal(np.asarray(slope) != 0, np.bool_(told))


def test_what_the_config_says_reaches_optimizer_loop_and_batches(
    tiny_config, fake_images, tmp_path, monkeypatch
):
    config = tiny_config(**{
        'generator.adam_b2': 0.95, 'generator.clip_norm': 0.5, 'generator.warmup_steps': 1,
        'generator.cosine_decay': False, 'generator.max_skipped_steps': 7,
        'generator.class_balanced': True, 'generator.ema_decay': 0.9, 'generator.accumulate': 1,
    }).generator
    given = {}

    def note(name, function):
        def call(*arguments, **options):
            given[name] = arguments, options
            return function(*arguments, **options)

        return call

    for name in ('make_optimizer', 'make_step'):
        function = getattr(generator.state_lib, name)
        monkeypatch.setattr(generator.state_lib, name, note(name, function))
    monkeypatch.setattr(generator.loop, 'fit', note('fit', lambda *_, **__: None))
    uneven = fake_images(24)
    uneven = uneven.take(np.flatnonzero((uneven.labels == 0) | (np.arange(24) < 8)))  # 12 and 4
    generator.train(tmp_path, config, uneven, uneven, num_classes=2, update=None)
    options = given['make_optimizer'][1]
    assert (options['b2'], options['clip'], options['warmup']) == (0.95, 0.5, 1)
    assert not options['cosine'] and given['make_step'][1]['ema_decay'] == 0.9
    _, _, batches, read = given['fit'][0]
    assert read.max_skipped_steps == 7
    labels = np.concatenate([batch['label'] for batch in itertools.islice(batches(0), 3)])
    np.testing.assert_array_equal(np.bincount(labels), [12, 12])


@pytest.fixture(scope='module')
def watched(tiny_config):
    """config -> 8 steps, looked at every 3, by the rule 'best_validation'."""
    return tiny_config(**{
        'generator.steps': 8, 'generator.sample_every': 3, 'generator.save_every': 4,
        'generator.log_every': 8, 'generator.validate_every': 8, 'generator.ema_decay': 0.9,
        'generator.select': 'best_validation',
    }).generator


@pytest.fixture
def one_program(monkeypatch):
    """Every training of one config takes the same compiled step."""
    monkeypatch.setattr(generator, 'build', functools.cache(generator.build))


def train_watched(folder, config, fake_images, losses, stop_at=None):
    """Trains under a watch that gives these losses by step; the EMAs that it saw."""
    seen = {}

    def watch(params, step):
        seen[step] = jax.tree.map(np.array, params)  # its memory is reused
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return {'sample': losses[step]}, losses[step]

    def train():
        generator.train(folder, config, fake_images(8), fake_images(8), num_classes=CLASSES,
                        update=lambda *_, **__: None, watch=watch)

    if stop_at:
        with pytest.raises(loop.Interrupted):
            train()
        assert checkpoints.steps(folder / 'checkpoints')[-1] == stop_at
        stop_at = None
    train()
    return seen


def test_the_best_sample_is_what_is_loaded_resumed_or_not(
    watched, one_program, fake_images, tmp_path
):
    losses = {3: 2.0, 6: 1.0, 8: 1.5}
    seen = train_watched(tmp_path / 'whole', watched, fake_images, losses)
    assert logged(tmp_path / 'whole', 'sample') == losses
    params, step = generator.load(tmp_path / 'whole')
    assert step == 6
    jax.tree.map(np.testing.assert_array_equal, params, seen[6])

    train_watched(tmp_path / 'stopped', watched, fake_images, losses, stop_at=6)
    texts = [(tmp_path / run / 'metrics.jsonl').read_bytes() for run in ('whole', 'stopped')]
    states = [checkpoints.load(tmp_path / run / 'checkpoints') for run in ('whole', 'stopped')]
    assert texts[0] == texts[1]
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_without_a_good_sample_the_last_step_is_loaded(watched, fake_images, tmp_path):
    losses = dict.fromkeys((3, 6, 8), float('inf'))
    seen = train_watched(tmp_path, watched, fake_images, losses)
    params, step = generator.load(tmp_path)
    assert step == 8
    jax.tree.map(np.testing.assert_array_equal, params, seen[8])
