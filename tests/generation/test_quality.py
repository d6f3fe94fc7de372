"""Planted cases: every rule must catch what it is for, and leave an honest image alone."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from generation import distances, quality

CLASSES, PER_CLASS, SHAPE = 3, 30, (6, 6, 3)
RULES = {'min_relevance': 0.1, 'max_distance': 3.0, 'copy_ratio': 1 / 3, 'min_contrast': 4.0,
         'max_saturated': 0.9}


def random_images(rng, n):
    return rng.integers(20, 236, (n, *SHAPE), np.uint8)


@pytest.fixture(scope='module')
def reference():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), PER_CLASS)
    centres = 20 * np.eye(CLASSES, 8)
    held_labels = np.arange(CLASSES).repeat(10)
    return quality.Reference(
        random_images(rng, len(labels)), labels,
        (centres[labels] + rng.normal(size=(len(labels), 8))).astype('f4'),
        random_images(rng, len(held_labels)), held_labels,
        (centres[held_labels] + rng.normal(size=(len(held_labels), 8))).astype('f4'),
    )


def judged(images, label, reference, rng, relevance=0.9, shift=0.0):
    """Scores of images of one class whose judge is sure and whose features lie in the class."""
    labels = np.full(len(images), label)
    probabilities = np.full((len(images), CLASSES), (1 - relevance) / (CLASSES - 1))
    probabilities[:, label] = relevance
    features = 20 * np.eye(CLASSES, 8)[labels] + rng.normal(size=(len(images), 8)) + shift
    return quality.score(images, labels, probabilities, features.astype('f4'), reference)


def reasons(scores, duplicate=None, **changes):
    n = len(scores['relevance'])
    duplicate = np.zeros(n, bool) if duplicate is None else duplicate
    return list(quality.decide(scores, duplicate, **(RULES | changes)))


def test_honest_images_stay(reference):
    rng = np.random.default_rng(1)
    images = random_images(rng, 20)
    assert set(reasons(judged(images, 1, reference, rng), max_distance=6.0)) == {''}


def test_an_interpolation_of_two_images_stays(reference):
    """Half-way between two training images nearest and second nearest are equally far."""
    rng = np.random.default_rng(2)
    a, b = reference.images[:10].astype(float), reference.images[10:20].astype(float)
    images = ((a + b) / 2).round().astype(np.uint8)
    scores = judged(images, 0, reference, rng)
    assert scores['pixel_ratio'].min() > 0.9
    assert set(reasons(scores, max_distance=6.0)) == {''}


@pytest.mark.parametrize('noise', [0, 5, 10])
def test_copies_are_found_and_named(reference, noise):
    rng = np.random.default_rng(3)
    rows = np.array([0, 7, 29])
    planted = reference.images[rows] + rng.normal(0, noise, (3, *SHAPE))
    scores = judged(np.clip(planted, 0, 255).round().astype(np.uint8), 0, reference, rng)
    np.testing.assert_array_equal(scores['nearest'], rows)
    assert reasons(scores) == ['copy'] * 3


def test_a_mirrored_copy_is_a_copy(reference):
    rng = np.random.default_rng(3)
    rows = np.array([7, 0, 29])
    planted = reference.images[rows][:, :, ::-1] + rng.normal(0, 5, (3, *SHAPE))
    planted = np.clip(planted, 0, 255).round().astype(np.uint8)
    scores = judged(planted, 0, reference, rng)
    np.testing.assert_array_equal(scores['nearest'], rows)
    assert reasons(scores) == ['copy'] * 3


def test_a_copy_of_another_class_is_a_copy(reference):
    rng = np.random.default_rng(4)
    assert reasons(judged(reference.images[-2:], 0, reference, rng)) == ['copy'] * 2


def test_a_copy_in_feature_space_alone_is_a_copy(reference):
    rng = np.random.default_rng(5)
    scores = judged(random_images(rng, 1), 0, reference, rng)
    scores['feature_ratio'], _ = distances.neighbour_ratio(
        reference.features[:1] + 0.01, reference.features
    )
    assert reasons(scores, max_distance=6.0) == ['copy']


def test_blank_and_saturated(reference):
    rng = np.random.default_rng(6)
    images = np.stack([
        np.full(SHAPE, 130, np.uint8),  # one grey
        rng.integers(128, 133, SHAPE, np.uint8),  # nearly
        np.broadcast_to(np.where(rng.random(SHAPE[:2]) < 0.5, 0, 255)[..., None], SHAPE),
        np.zeros(SHAPE, np.uint8),  # both: the first reason counts
    ]).astype(np.uint8)
    scores = judged(images, 0, reference, rng)
    assert reasons(scores) == ['blank', 'blank', 'saturated', 'blank']
    assert scores['contrast'][0] == 0 and scores['saturated'][2] == 1


def test_what_is_common_among_real_images_is_no_extreme():
    """Strokes on white, one image of twenty blank: the blank one is still no reason to pass."""
    rng = np.random.default_rng(8)
    strokes = np.full((20, *SHAPE), 255, np.uint8)
    strokes[:, 2] = rng.integers(0, 2, (20, SHAPE[1], 1)) * 255
    strokes[0] = 255
    labels, features = np.arange(20) % 2, rng.normal(size=(20, 8))
    drawings = quality.Reference(strokes, labels, features, strokes, labels, features)
    config = {'min_contrast': 4.0, 'max_saturated': 0.9}
    limits = quality.extreme_limits(drawings, 0.9, **config)
    assert limits == {'min_contrast': 4.0, 'max_saturated': 1.0}
    scores = judged(strokes[:3], 0, drawings, rng)
    scores |= {'pixel_ratio': np.ones(3), 'feature_ratio': np.ones(3), 'distance': np.zeros(3)}
    assert reasons(scores) == ['blank', 'saturated', 'saturated']
    assert reasons(scores, **limits) == ['blank', '', '']
    flat = np.full((20, *SHAPE), 99, np.uint8) + rng.integers(0, 2, (20, *SHAPE), np.uint8)
    plain = quality.Reference(flat, labels, features, flat, labels, features)
    limits = quality.extreme_limits(plain, 0.9, **config)
    assert 0 < limits['min_contrast'] < 1 and limits['max_saturated'] == 0.9


def test_off_class_and_far(reference):
    rng = np.random.default_rng(7)
    images = random_images(rng, 4)
    assert reasons(judged(images, 0, reference, rng, relevance=0.05)) == ['off_class'] * 4
    limit = quality.distance_limit(reference, 0.99)
    far = judged(images, 0, reference, rng, shift=10.0)
    assert reasons(far, max_distance=limit) == ['far'] * 4
    assert far['distance'].min() > 10


def test_the_first_reason_counts():
    """An image that fails every test, repaired one by one, gives the reasons in their order."""
    scores = {'contrast': 0.0, 'saturated': 1.0, 'pixel_ratio': 0.0, 'feature_ratio': 1.0,
              'relevance': 0.0, 'distance': 9.0, 'duplicate': True}
    repairs = {'blank': ('contrast', 50.0), 'saturated': ('saturated', 0.0),
               'copy': ('pixel_ratio', 1.0), 'duplicate': ('duplicate', False),
               'off_class': ('relevance', 1.0), 'far': ('distance', 0.0)}
    for expected in quality.REASONS:
        rows = {name: np.array([value]) for name, value in scores.items()}
        assert reasons(rows, rows['duplicate']) == [expected]
        name, good = repairs[expected]
        scores[name] = good
    rows = {name: np.array([value]) for name, value in scores.items()}
    assert reasons(rows, rows['duplicate']) == ['']


def test_a_limit_is_where_it_says():
    """Just beyond a rule's limit is rejected, just within it stays."""
    within = {'contrast': 4.01, 'saturated': 0.89, 'pixel_ratio': 0.34, 'feature_ratio': 0.34,
              'relevance': 0.11, 'distance': 2.99}
    beyond = {'contrast': 3.99, 'saturated': 0.91, 'pixel_ratio': 0.33, 'feature_ratio': 0.33,
              'relevance': 0.09, 'distance': 3.01}
    said = dict(zip(within, ['blank', 'saturated', 'copy', 'copy', 'off_class', 'far']))
    rows = {name: np.array([value]) for name, value in within.items()}
    assert reasons(rows) == ['']
    for name, value in beyond.items():
        assert reasons(rows | {name: np.array([value])}) == [said[name]]


def duplicates(images, labels=None, earlier=None, earlier_labels=None, limit=200.0):
    earlier = images[:0] if earlier is None else earlier
    labels = np.zeros(len(images), int) if labels is None else labels
    earlier_labels = np.zeros(len(earlier), int) if earlier_labels is None else earlier_labels
    return quality.duplicates(images, labels, earlier, earlier_labels, np.full(2, limit)).tolist()


def test_the_first_of_duplicates_stays():
    a, b, c = random_images(np.random.default_rng(8), 3)
    assert duplicates(np.stack([a, b, a, b, a, c])) == [False, False, True, True, True, False]


def test_duplicates_of_earlier_ones_and_of_other_classes():
    a, b = random_images(np.random.default_rng(9), 2)
    images, labels = np.stack([a, b, b]), np.array([0, 0, 1])
    assert duplicates(images, labels, a[None]) == [True, False, False]
    assert duplicates(images, labels, a[None], np.array([1])) == [False, False, False]


def test_what_is_dropped_makes_nothing_else_a_duplicate():
    """A chain: each link is near the one before only, so every second one stays."""
    chain = np.stack([np.full(SHAPE, 100 + 10 * i, np.uint8) for i in range(5)])
    step = 10 * np.sqrt(np.prod(SHAPE))
    assert duplicates(chain, limit=1.5 * step) == [False, True, False, True, False]
    assert duplicates(chain, limit=0.5 * step) == [False] * 5
    assert duplicates(chain, limit=9 * step) == [False, True, True, True, True]


def test_duplicate_limits_are_the_ratio_of_the_typical_neighbour_distance():
    step = 10 * np.sqrt(np.prod(SHAPE))
    images = np.stack([np.full(SHAPE, 10 * i, np.uint8) for i in range(12)])
    labels = np.array([0] * 5 + [1] * 6 + [2])
    images[labels == 1] //= 2
    limits = quality.duplicate_limits(images, labels, 3, 0.5)
    np.testing.assert_allclose(limits[:2], [0.5 * step, 0.25 * step], rtol=1e-3)
    assert limits[1] <= limits[2] <= limits[0]  # one image has no neighbour: the others' median


def test_a_typical_distance_is_that_of_all_of_a_class():
    """Of four images two are near each other, and the others are far from all."""
    levels = np.array([0, 2, 100, 200])
    images = np.stack([np.full(SHAPE, level, np.uint8) for level in levels])
    found = quality.duplicate_limits(images, np.zeros(4, int), 1, 1.0)
    gaps = np.sort([2, 2, 98, 100]) * np.sqrt(np.prod(SHAPE))
    assert found[0] == pytest.approx(np.median(gaps))


def test_distance_limit_is_the_quantile_of_the_held_out(reference):
    d = distances.class_distance(reference.held_out_features, reference.held_out_labels,
                                 reference.features, reference.labels)
    limit = quality.distance_limit(reference, 0.8)
    assert (d > limit).mean() == pytest.approx(0.2, abs=1 / len(d))


def empty_held_out(reference):
    return quality.Reference(
        reference.images, reference.labels, reference.features, reference.images[:0],
        reference.labels[:0], reference.features[:0],
    )


def test_without_held_out_images_nothing_is_far_and_no_rate_is_known(reference):
    empty = empty_held_out(reference)
    assert quality.distance_limit(empty, 0.99) == np.inf
    assert quality.extreme_limits(empty, 0.99, min_contrast=4, max_saturated=0.9) == {
        'min_contrast': 4, 'max_saturated': 0.9,
    }
    rates = quality.copies({}, empty, 1 / 3)
    assert set(rates) == {'made', 'accepted', 'real_held_out'}
    for found in rates.values():
        assert found == {'pixels': None, 'features': None, 'either': None}


def test_independent_images_are_hardly_ever_copies(reference):
    assert quality.copies({}, reference, 1 / 3)['real_held_out']['either'] < 0.02
    leaked = quality.Reference(
        reference.images, reference.labels, reference.features,
        np.concatenate([reference.held_out_images, reference.images[:30]]),
        np.concatenate([reference.held_out_labels, reference.labels[:30]]),
        np.concatenate([reference.held_out_features, reference.features[:30]]),
    )
    found = quality.copies({}, leaked, 1 / 3)['real_held_out']
    assert found == pytest.approx(dict.fromkeys(found, 0.5), abs=0.02)


def test_copy_rates_by_hand(reference):
    rows = {
        'pixel_ratio': np.array([0.1, 0.1, 0.9, 0.9, 0.5]),
        'feature_ratio': np.array([0.1, 0.9, 0.1, 0.9, 0.4]),
        'reasons': np.array(['blank', 'copy', 'copy', '', 'surplus']),
    }
    found = quality.copies(rows, reference, 1 / 3)
    assert found['made'] == {'pixels': 2 / 5, 'features': 2 / 5, 'either': 3 / 5}
    assert found['accepted'] == {'pixels': 0, 'features': 0, 'either': 0}


def test_suspects_are_the_lowest_ratios_that_the_rule_judged():
    rows = {
        'pixel_ratio': np.array([0.1, 0.5, 0.2, 0.9, 0.3, 1.0]),
        'feature_ratio': np.array([0.9, 0.4, 0.9, 0.3, 0.05, 1.0]),
        'reasons': np.array(['blank', '', 'copy', '', 'off_class', '']),
    }
    assert quality.suspects(rows, 12).tolist() == [2, 3, 1]
    assert quality.suspects(rows, 2).tolist() == [2, 3]


def test_a_copy_of_a_twin_is_found_among_distinct_images(reference):
    """Of twins in the training set both are near; the ratio to the other twin says nothing."""
    rng = np.random.default_rng(12)

    def noisy(images, scale=4):
        noise = rng.normal(0, scale, images.shape)
        return np.clip(images + noise, 0, 255).round().astype(np.uint8)

    images = np.concatenate([reference.images, noisy(reference.images[:40])])
    labels = np.concatenate([reference.labels, reference.labels[:40]])
    features = np.concatenate([reference.features, reference.features[:40] + 0.01])
    distinct = quality.distinct(images, labels, np.full(CLASSES, 100.0))
    np.testing.assert_array_equal(distinct, np.arange(len(images)) < len(reference.images))

    planted = noisy(images[:40])
    both = [
        dataclasses.replace(
            reference, images=images, labels=labels, features=features, distinct=rows
        )
        for rows in (None, distinct)
    ]
    blind, seeing = (quality.neighbours(planted, features[:40], r)['pixels'] for r in both)
    assert (blind[0] > 1 / 3).all() and (seeing[0] < 1 / 3).all()
    np.testing.assert_array_equal(seeing[1][:, 0], np.arange(40))
    assert quality.copies({}, both[1], 1 / 3)['real_held_out']['either'] < 0.02


def test_neighbours_are_rows_of_the_whole_training_set(reference):
    distinct = np.arange(len(reference.labels)) % 2 == 1
    odd = dataclasses.replace(reference, distinct=distinct)
    found = quality.neighbours(reference.images[3:4], reference.features[3:4], odd)
    for ratio, rows in found.values():
        assert ratio[0] < 0.01 and rows[0, 0] == 3 and rows[0, 1] % 2 == 1


def test_summarise():
    rows = {
        'labels': np.array([0, 0, 1, 1, 1, 2]),
        'reasons': np.array(['', 'copy', '', 'surplus', 'blank', 'copy']),
    }
    assert quality.summarise(rows, np.array([1, 1, 3]), ('a', 'b', 'c')) == {
        'made': 6,
        'accepted': 2,
        'rejected': dict.fromkeys(quality.REASONS, 0) | {'blank': 1, 'copy': 2, 'surplus': 1},
        'unfilled': {'c': 3},
    }
    nothing = quality.summarise({}, np.zeros(3, int), ('a', 'b', 'c'))
    assert nothing['made'] == nothing['accepted'] == 0 and nothing['unfilled'] == {}


def test_inputs_are_not_changed(reference):
    rng = np.random.default_rng(11)
    images = random_images(rng, 3)
    before = images.copy(), reference.images.copy()
    judged(images, 0, reference, rng)
    duplicates(images)
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(reference.images, before[1])


def test_twins_of_a_large_class_are_found_in_little_memory():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12_000, 4, 4, 3)).astype(np.uint8)
    images[9000:9010] = images[:10]
    tracemalloc.start()
    twins = quality.duplicates(images, np.zeros(12_000, int), images[:0], [], np.ones(1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.flatnonzero(twins).tolist() == list(range(9000, 9010))
    assert peak < 50e6  # the matrix of all distances has 1.2 GB


def test_mirrored_copies_are_found_beyond_the_first_chunk(monkeypatch):
    monkeypatch.setattr(quality, '_CHUNK', 4)
    images = np.random.default_rng(0).integers(20, 236, (20, 6, 6, 3), np.uint8)
    labels, features = np.zeros(20, int), np.zeros((20, 2))
    reference = quality.Reference(
        images, labels, features, images[:0], labels[:0], features[:0]
    )
    ratios, rows = quality.pixel_neighbours(images[:10, :, ::-1], reference)
    assert (ratios < 1 / 3).all() and rows[:, 0].tolist() == list(range(10))


def test_what_is_common_among_real_images_is_no_reason_to_reject():
    images = np.random.default_rng(0).integers(20, 236, (20, 6, 6, 3), np.uint8)
    images[:4] = 99  # a fifth is flat
    labels, features = np.zeros(20, int), np.zeros((20, 2))
    reference = quality.Reference(images, labels, features, images, labels, features)
    limits = quality.extreme_limits(reference, 0.9, min_contrast=4.0, max_saturated=0.9)
    assert limits['min_contrast'] == 0


def test_a_class_lacks_what_was_planned_and_not_accepted():
    rows = {'labels': np.array([0, 0, 1]), 'reasons': np.array(['', 'copy', ''])}
    assert quality.summarise(rows, np.array([3, 1]), ('a', 'b'))['unfilled'] == {'a': 2}
