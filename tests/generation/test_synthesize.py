import json

import jax.numpy as jnp
import numpy as np
import pytest

from generation import priors, samplers, synthesize

COUNTS = np.array([10, 4, 7])


@pytest.mark.parametrize(
    ('fill', 'expected'),
    [
        ('largest', [0, 6, 3]),
        ('50', [40, 46, 43]),
        (50, [40, 46, 43]),
        ('7', [0, 3, 0]),
        ('2x', [10, 16, 13]),
        ('0.5x', [0, 1, 0]),
        ('1x', [0, 6, 3]),
    ],
)
def test_fill_plan(fill, expected):
    np.testing.assert_array_equal(synthesize.fill_plan(COUNTS, fill), expected)


@pytest.mark.parametrize('fill', ['', 'x', 'most', '2.5', '0', '-3', '0x', '-1x', 'nanx', 'infx'])
def test_a_malformed_fill_is_named(fill):
    with pytest.raises(ValueError, match='config.synthesis.fill') as error:
        synthesize.fill_plan(COUNTS, fill)
    assert repr(fill) in str(error.value) and '\n' not in str(error.value)


class Factory:
    """Images that carry their seed, and a check that rejects the seeds in `bad`."""

    def __init__(self, bad=lambda seeds, labels: np.zeros(len(seeds), bool)):
        self.bad, self.asked, self.earlier = bad, [], []

    def make(self, labels, seeds):
        self.asked.append((labels, seeds))
        images = np.zeros((len(seeds), 2, 2, 3), np.uint8)
        images[:, 0, 0, 0], images[:, 0, 0, 1] = seeds % 256, labels
        return images

    def check(self, images, labels, accepted, accepted_labels):
        np.testing.assert_array_equal(accepted[:, 0, 0, 1], accepted_labels)
        self.earlier.append(len(accepted))
        seeds = self.asked[-1][1]
        reasons = np.where(self.bad(seeds, labels), 'blank', '')
        return reasons, {'relevance': seeds / 1000}


def accepted_per_class(rows):
    return np.bincount(rows['labels'][rows['reasons'] == ''], minlength=3)


def assert_rows_are_whole(rows, factory):
    labels = np.concatenate([labels for labels, _ in factory.asked])
    seeds = np.concatenate([seeds for _, seeds in factory.asked])
    np.testing.assert_array_equal(rows['labels'], labels)
    np.testing.assert_array_equal(rows['seeds'], seeds)
    np.testing.assert_array_equal(rows['images'][:, 0, 0, 0], seeds % 256)
    np.testing.assert_allclose(rows['relevance'], seeds / 1000)
    assert len(np.unique(seeds)) == len(seeds)  # no image is made twice


def test_all_good_images_take_one_round():
    plan, factory = np.array([0, 6, 3]), Factory()
    rows = synthesize.fill(plan, factory.make, factory.check, rounds=6)
    np.testing.assert_array_equal(accepted_per_class(rows), plan)
    assert len(factory.asked) == 1 and len(rows['labels']) == 9
    assert_rows_are_whole(rows, factory)


def test_rejected_images_are_replaced():
    plan = np.array([40, 10, 0])
    factory = Factory(lambda seeds, labels: seeds // 3 % 2 == 0)  # every other one of a class
    rows = synthesize.fill(plan, factory.make, factory.check, rounds=8)
    np.testing.assert_array_equal(accepted_per_class(rows), plan)
    assert set(rows['reasons']) <= {'', 'blank', 'surplus'}
    assert 1 < len(factory.asked) < 8
    assert_rows_are_whole(rows, factory)
    accepted = [np.isin(rows['seeds'], seeds) & (rows['reasons'] == '')
                for _, seeds in factory.asked]
    so_far = np.cumsum([0, *(part.sum() for part in accepted)])
    np.testing.assert_array_equal(factory.earlier, so_far[:-1])  # the check saw the accepted ones


def test_the_first_good_ones_stay_and_the_rest_is_surplus():
    plan, calls = np.array([10, 0, 0]), []

    def bad(seeds, labels):  # bad in the first round, good from then on: more come than needed
        calls.append(len(seeds))
        return np.full(len(seeds), len(calls) == 1) & (np.arange(len(seeds)) > 2)

    factory = Factory(bad)
    rows = synthesize.fill(plan, factory.make, factory.check, rounds=6)
    np.testing.assert_array_equal(accepted_per_class(rows), plan)
    second = rows['reasons'][10:]
    assert len(second) > 7
    np.testing.assert_array_equal(second[:7], '')
    np.testing.assert_array_equal(second[7:], 'surplus')


def test_stops_after_the_rounds_and_leaves_the_class_short():
    plan = np.array([2, 5, 0])
    factory = Factory(lambda seeds, labels: labels == 1)
    rows = synthesize.fill(plan, factory.make, factory.check, rounds=3)
    np.testing.assert_array_equal(accepted_per_class(rows), [2, 0, 0])
    assert len(factory.asked) == 3
    assert max(len(seeds) for _, seeds in factory.asked) <= 4 * 5  # and never asks without bound
    assert_rows_are_whole(rows, factory)


def test_nothing_to_make():
    factory = Factory()
    assert synthesize.fill(np.zeros(3, int), factory.make, factory.check, rounds=3) == {}
    assert not factory.asked


def cheap_predict(params, x_t, log_snr, labels):
    """Depends on everything, in exact arithmetic only."""
    shade = (labels * 0.125 - 0.25)[:, None, None, None]
    return 0.25 * x_t + shade * params['scale']


FROM_NOISE = priors.Prior(np.zeros((4, 4, 4, 3), np.float32), np.zeros((48, 48), np.float32))


def make_sampler(batch_size, seed=0, prior=FROM_NOISE, **options):
    options = {'sampler': 'ddpm', 'steps': 3, 'guidance_scale': 1.0,
               'spacing': 'karras', 'guidance_interval': (0.0, 1.0), **options}
    return synthesize.make_sampler(
        cheap_predict, prior, schedule='cosine', seed=seed, batch_size=batch_size, **options,
    )


PARAMS = {'scale': jnp.float32(1.0)}


@pytest.fixture(scope='module')
def twenty():
    labels, seeds = np.arange(20) % 4, np.arange(20) * 5
    return labels, seeds, make_sampler(8)(PARAMS, labels, seeds)


def test_images_are_uint8_and_differ(twenty):
    labels, seeds, images = twenty
    assert images.shape == (20, 4, 4, 3) and images.dtype == np.uint8
    assert len(np.unique(images.reshape(20, -1), axis=0)) == 20


@pytest.mark.parametrize('batch_size', [16, 24])
def test_batch_size_changes_nothing(twenty, batch_size):
    labels, seeds, images = twenty
    np.testing.assert_array_equal(make_sampler(batch_size)(PARAMS, labels, seeds), images)


def test_a_seed_is_the_same_image_in_any_batch(twenty):
    labels, seeds, images = twenty
    make, order = make_sampler(8), np.random.default_rng(0).permutation(20)
    np.testing.assert_array_equal(make(PARAMS, labels[order], seeds[order]), images[order])
    np.testing.assert_array_equal(make(PARAMS, labels[13:16], seeds[13:16]), images[13:16])
    np.testing.assert_array_equal(make(PARAMS, labels[7:8], seeds[7:8]), images[7:8])


def test_the_seed_of_the_run_the_class_and_the_parameters_matter(twenty):
    labels, seeds, images = twenty
    assert np.any(make_sampler(8, seed=1)(PARAMS, labels[:8], seeds[:8]) != images[:8])
    make = make_sampler(8)
    assert np.any(make(PARAMS, (labels[:8] + 1) % 4, seeds[:8]) != images[:8])
    assert np.any(make({'scale': jnp.float32(2.0)}, labels[:8], seeds[:8]) != images[:8])


def test_guidance_uses_the_class_without_a_class(twenty):
    labels, seeds, images = twenty
    guided = make_sampler(8, guidance_scale=3.0, sampler='ddim', steps=1)(PARAMS, labels, seeds)
    plain = make_sampler(8, sampler='ddim', steps=1)(PARAMS, labels, seeds)
    # one step: unconditional shade is that of label 4, so the difference is 2 * (label - 4) / 8
    shift = np.median((guided.astype(int) - plain).reshape(20, -1), axis=1) / 127.5
    inside = labels >= 2  # the others are clipped at black
    np.testing.assert_allclose(shift[inside], (2 * 0.125 * (labels - 4))[inside], atol=0.02)


def test_images_begin_from_what_their_class_is_from_afar(twenty):
    """Each from its own: where the network adds nothing to x_t, the start's mean is left in it."""
    labels, seeds = np.tile(np.arange(4), 500), np.arange(2000)
    mean = np.linspace(-0.9, 0.9, 4, dtype=np.float32)[:, None, None, None] + FROM_NOISE.mean
    root = 0.5 * np.eye(48, dtype=np.float32)
    options = {'sampler': 'ddim', 'steps': 1, 'spacing': 'karras'}
    drawn = {}
    for name, prior in (('noise', FROM_NOISE), ('mean', priors.Prior(mean, FROM_NOISE.root)),
                        ('both', priors.Prior(mean, root))):
        images = make_sampler(400, prior=prior, **options)(PARAMS, labels, seeds)
        drawn[name] = images / 127.5 - 1
    assert (drawn['both'] != drawn['mean']).mean() > 0.3
    for label in range(4):
        moved = (drawn['mean'] - drawn['noise'])[labels == label].mean()
        assert abs(moved - 0.25 * mean[label, 0, 0, 0] / samplers.SIGMA_MAX) < 2e-3
    # two draws of normal numbers, not one twice
    pair = drawn['noise'], drawn['both'] - drawn['mean']
    inner = np.abs(drawn['both']).max(axis=(1, 2, 3)) < 1
    assert abs(np.corrcoef(*(each[inner].ravel() for each in pair))[0, 1]) < 0.05
    again = make_sampler(8, prior=priors.Prior(mean, root), **options)
    part = again(PARAMS, labels[7:9], seeds[7:9]) / 127.5 - 1
    np.testing.assert_array_equal(part, drawn['both'][7:9])


def test_progress_ends_at_the_total(twenty):
    labels, seeds, _ = twenty
    calls = []
    make_sampler(8)(PARAMS, labels, seeds, lambda done, total: calls.append((done, total)))
    assert calls == [(8, 20), (16, 20), (20, 20)]
    json.dumps(calls)
    calls.clear()
    known = np.zeros((8, 4, 4, 3), np.uint8)
    once = lambda batch, draw: known if batch['seed'][0] == seeds[0] else draw()  # noqa: E731
    make_sampler(8)(PARAMS, labels, seeds, lambda done, total: calls.append((done, total)), once)
    assert calls == [(16, 20), (20, 20)]  # the time left is that of what is drawn
