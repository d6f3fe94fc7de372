"""Closed forms, brute force, and how each measure must answer to what it is for."""

import itertools

import numpy as np
import pytest
from scipy import linalg

from eval import generative

MEASURES = generative.MEASURES


def normal(seed, n=200, d=6, mean=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(mean, scale, (n, d))


def with_moments(mean, covariance, n=50, seed=0):
    """n points whose sample mean and covariance are exactly these."""
    x = normal(seed, n, len(mean))
    x -= x.mean(0)
    whitened = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T).reshape(len(mean), -1))).T
    return whitened @ np.linalg.cholesky(covariance).T + mean


# Frechet distance -----------------------------------------------------------------------------


def test_frechet_of_diagonal_covariances_is_the_closed_form():
    s, t = np.array([1.0, 4.0, 9.0]), np.array([4.0, 1.0, 16.0])
    a = with_moments(np.zeros(3), np.diag(s))
    b = with_moments(np.array([1.0, -2.0, 0.5]), np.diag(t), n=80, seed=1)
    expected = 1 + 4 + 0.25 + np.square(np.sqrt(s) - np.sqrt(t)).sum()
    assert generative.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_any_covariances_is_that_of_the_matrix_square_root():
    a, b = normal(0) @ normal(1, 6), normal(2, 90) @ normal(3, 6) + 1
    s, t = np.cov(a.T), np.cov(b.T)
    root = linalg.sqrtm(s @ t).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(s + t - 2 * root)
    assert generative.frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_frechet_with_fewer_images_than_dimensions():
    a = normal(0, 12, 100)
    assert generative.frechet_distance(a, a) == pytest.approx(0, abs=1e-10)
    assert generative.frechet_distance(a, a + 0.3) == pytest.approx(100 * 0.09, rel=1e-9)
    assert generative.frechet_distance(a, 2 * a) == pytest.approx(  # S and 4 S commute
        np.square(a.mean(0)).sum() + np.cov(a.T).trace(), rel=1e-9)


def test_frechet_of_orthogonal_supports_has_no_common_term():
    a, b = np.zeros((20, 8)), np.zeros((30, 8))
    a[:, :4], b[:, 4:] = normal(0, 20, 4), normal(1, 30, 4)
    expected = (np.square(a.mean(0) - b.mean(0)).sum() + np.cov(a.T).trace()
                + np.cov(b.T).trace())
    assert generative.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_is_symmetric_and_blind_to_rotations_and_dead_features():
    a, b = normal(0), normal(1, 70, mean=0.5)
    value = generative.frechet_distance(a, b)
    rotation = np.linalg.qr(normal(2, 6))[0]
    dead = [np.concatenate([x, np.zeros((len(x), 300))], axis=1) for x in (a, b)]
    for other in ((b, a), (a @ rotation, b @ rotation), dead):
        assert generative.frechet_distance(*other) == pytest.approx(value, rel=1e-9)


def test_frechet_of_float32_far_from_zero():
    a, b = normal(0, scale=0.01) + 100, normal(1, scale=0.01) + 100
    exact = generative.frechet_distance(a - 100, b - 100)
    assert generative.frechet_distance(a, b) == pytest.approx(exact, rel=1e-5)
    assert np.isfinite(generative.frechet_distance(a.astype('f4'), b.astype('f4')))


# Kernel distance ------------------------------------------------------------------------------


@pytest.mark.parametrize('chunk', [1024, 7])
def test_kernel_distance_is_the_double_sum(monkeypatch, chunk):
    monkeypatch.setattr(generative, '_CHUNK', chunk)
    a, b = normal(0, 20, 3), normal(1, 15, 3, mean=0.5)

    def mean(x, y, skip):
        return np.mean([(x[i] @ y[j] / 3 + 1) ** 3
                        for i, j in itertools.product(range(len(x)), range(len(y)))
                        if not (skip and i == j)])

    expected = mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False)
    assert generative.kernel_distance(a, b) == pytest.approx(expected, rel=1e-10)
    assert generative.kernel_distance(b, a) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize('size', [(10, 10), (10, 40)])
def test_kernel_distance_is_zero_on_average_for_one_distribution(size):
    values = [generative.kernel_distance(normal([i, 0], size[0]), normal([i, 1], size[1]))
              for i in range(400)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3.5 * error and min(values) < 0


def of_classes(rng, counts, spread=1.0):
    """Features of so many images of each class, around centres far apart, and their classes."""
    labels = np.repeat(np.arange(len(counts)), counts)
    centres = 2 * np.random.default_rng(9).normal(size=(len(counts), 6))
    return centres[labels] + spread * rng.normal(size=(len(labels), 6)), labels


@pytest.mark.parametrize('counts', [
    ((1,) * 8, (1,) * 8), ((2,) * 8, (2,) * 8), ((5,) * 8, (1, 2, 3, 4, 1, 2, 3, 4)),
    ((3,) * 8, (0, 2, 9, 1, 1, 2, 3, 4))])
def test_kernel_distance_of_so_many_images_a_class_is_zero_on_average(counts):
    """Without the classes it is not: images of one class meet less often in a set than across."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        (a, of_a), (b, of_b) = (of_classes(rng, n) for n in counts)
        found.append(generative.kernel_distance(a, b, of_a, of_b))
        some = rng.permutation(len(a))
        assert generative.kernel_distance(a[some], b, of_a[some], of_b) == pytest.approx(found[-1])
    assert abs(np.mean(found)) < 3.5 * np.std(found) / np.sqrt(len(found))


def test_kernel_distance_without_the_classes_is_below_zero_for_few_images_a_class():
    rng = np.random.default_rng(0)
    found = [generative.kernel_distance(of_classes(rng, [2] * 8)[0], of_classes(rng, [2] * 8)[0])
             for _ in range(400)]
    assert np.mean(found) < -3.5 * np.std(found) / np.sqrt(len(found))


def test_kernel_distance_sees_images_too_typical_of_their_class():
    rng = np.random.default_rng(0)
    real, of_real = of_classes(rng, [300] * 4)
    fair, narrow = (generative.kernel_distance(real, features, of_real, labels)
                    for features, labels in (of_classes(rng, [300] * 4, s) for s in (1.0, 0.5)))
    assert narrow > 5 * abs(fair)


def test_kernel_distance_weighs_classes_as_the_second_set_has_them():
    """As if each image of a class stood in the first set as often as its share asks for."""
    rng = np.random.default_rng(0)
    (a, of_a), (b, of_b) = of_classes(rng, [4, 4]), of_classes(rng, [12, 4])
    pair = generative.kernel_distance(a, b, of_a, of_b)
    k = lambda x, y: (x @ y.T / 6 + 1) ** 3  # noqa: E731
    mean = {}
    for c, d in itertools.product(range(2), range(2)):
        for name, (x, of_x), (y, of_y) in (
                ('a', (a, of_a), (a, of_a)), ('b', (b, of_b), (b, of_b)),
                ('ab', (a, of_a), (b, of_b))):
            block = k(x[of_x == c], y[of_y == d])
            if name != 'ab' and c == d:
                block = block[~np.eye(len(block), dtype=bool)]
            mean[name, c, d] = block.mean()
    share = 0.75, 0.25
    expected = sum(
        share[c] * share[d] * (mean['a', c, d] + mean['b', c, d] - 2 * mean['ab', c, d])
        for c, d in itertools.product(range(2), range(2)))
    assert pair == pytest.approx(expected)


def test_kernel_distance_sees_a_skew_that_frechet_does_not():
    """Two sets with the same mean and covariance: the cubic kernel knows third moments."""
    rng = np.random.default_rng(0)
    skewed = rng.exponential(size=(4000, 1)) - 1
    a = with_moments(np.zeros(1), np.eye(1), 4000)
    b = (skewed - skewed.mean()) / skewed.std(ddof=1)
    assert generative.frechet_distance(a, b) == pytest.approx(0, abs=1e-9)
    assert generative.kernel_distance(a, b) > 1


# Precision, recall, density, coverage ---------------------------------------------------------


def test_neighbourhoods_by_hand():
    real = np.array([[0.0], [1.0], [2.0], [10.0]])  # radii to the nearest: 1, 1, 1, 8
    fake = np.array([[0.5], [2.5], [40.0], [41.0]])  # radii: 2, 2, 1, 1
    assert generative.precision_recall(real, fake, k=1) == (0.5, 0.75)
    # 0.5 lies around 0 and 1; 2.5 around 2 and 10; of the balls all four hold a fake
    assert generative.density_coverage(real, fake, k=1) == (1.0, 1.0)
    assert generative.density_coverage(real, fake[2:], k=1) == (0.0, 0.0)


def test_identical_sets():
    a = normal(0)
    assert generative.precision_recall(a, a) == (1, 1)
    density, coverage = generative.density_coverage(a, a)
    assert 1 - 1e-2 <= density <= 6 / 5 + 1e-2 and coverage == 1
    equal = np.ones((20, 4))  # balls of no size
    assert generative.precision_recall(equal, equal) == (1, 1)


def test_disjoint_sets():
    a, b = normal(0), normal(1, mean=100)
    assert generative.precision_recall(a, b) == (0, 0)
    assert generative.density_coverage(a, b) == (0, 0)


def test_samples_of_one_distribution():
    a, b = normal(0, 600), normal(1, 600)
    precision, recall = generative.precision_recall(a, b)
    assert abs(precision - recall) < 0.1 and precision > 0.6
    density, coverage = generative.density_coverage(a, b)
    assert density == pytest.approx(1, abs=0.15)
    assert coverage == pytest.approx(1 - 2**-5, abs=0.03)  # Naeem et al., lemma 2


def clusters(seed, modes, n=240):
    rng = np.random.default_rng(seed)
    return 20 * np.eye(6)[np.arange(n) % modes] + rng.normal(size=(n, 6))


def test_a_dropped_mode_lowers_recall_and_coverage_alone():
    real, whole, half = clusters(0, 4), clusters(1, 4), clusters(2, 2)
    full, lost = generative.measures(real, whole), generative.measures(real, half)
    for name in ('recall', 'coverage'):
        assert lost[name] < 0.6 < 0.75 < full[name]
    assert lost['precision'] > 0.75 and lost['density'] > 0.75
    for name in ('frechet_distance', 'kernel_distance'):
        assert lost[name] > 10 * abs(full[name])


def test_invented_images_lower_precision_and_density_alone():
    real, fake = clusters(0, 2), clusters(1, 4)
    found = generative.measures(real, fake)
    assert found['precision'] < 0.6 and found['density'] < 0.7
    assert found['recall'] > 0.75 and found['coverage'] > 0.75


def test_one_outlier_inflates_precision_but_not_density():
    """The reason to have both (Naeem et al. 2020, sec. 3): an outlier's ball is large."""
    real, far = np.concatenate([normal(0), np.full((1, 6), 60.0)]), normal(1, mean=30)
    assert generative.precision_recall(real, far)[0] > 0.9
    assert generative.density_coverage(real, far)[0] < 0.3


def test_order_shift_and_chunks_change_nothing(monkeypatch):
    real, fake = clusters(0, 3), clusters(1, 4, n=100)
    expected = generative.measures(real, fake)
    rng = np.random.default_rng(0)
    shuffled = generative.measures(rng.permutation(real), rng.permutation(fake))
    monkeypatch.setattr(generative, '_CHUNK', 9)
    monkeypatch.setattr(generative, '_MEBIBYTES', 0.01)
    for found in (shuffled, generative.measures(real, fake)):
        assert found == pytest.approx(expected, rel=1e-9)
    moved = generative.measures(real + 5, fake + 5)
    del moved['kernel_distance'], expected['kernel_distance']  # its kernel has an origin
    assert moved == pytest.approx(expected, rel=1e-6)


# Few images, and the comparison ---------------------------------------------------------------


@pytest.mark.parametrize('function, least', [
    (generative.frechet_distance, 2), (generative.kernel_distance, 2),
    (generative.precision_recall, 4), (generative.density_coverage, 6)])
def test_too_few_images_are_refused(function, least):
    function(normal(0, least), normal(1, least))
    with pytest.raises(ValueError, match=f'need {least} or more'):
        function(normal(0, least - 1), normal(1, 50))


@pytest.mark.parametrize('few', [0, 2, 3, 9])
def test_measures_of_few_images_are_none(few):
    for sets in ((normal(0), normal(1, few)), (normal(1, few), normal(0))):
        assert generative.measures(*sets) == dict.fromkeys(MEASURES)
    assert None not in generative.measures(normal(0, 10, 64), normal(1, 10, 64)).values()


def labelled(seed, counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    rng = np.random.default_rng(seed)
    return 8 * np.eye(len(counts), 8)[labels] + rng.normal(size=(len(labels), 8)), labels


def test_compare_gives_samples_of_one_source_like_figures_whatever_their_classes():
    found = generative.compare(labelled(0, [0, 20, 300, 400]), labelled(1, [90, 60, 40, 20]),
                               labelled(2, [900, 600, 400, 200]))
    assert (found['images'], found['classes']) == (20 + 40 + 20, 3)
    synthetic, yardstick = found['synthetic_train'], found['validation_train']
    assert synthetic.keys() == yardstick.keys() == set(MEASURES)
    assert synthetic['frechet_distance'] == pytest.approx(yardstick['frechet_distance'], rel=0.3)
    for name in ('precision', 'recall', 'coverage'):
        assert synthetic[name] == pytest.approx(yardstick[name], abs=0.15)
    assert None not in found['synthetic_validation'].values()


def test_compare_is_worse_for_worse_images():
    validation, train = labelled(1, [40, 40]), labelled(2, [200, 200])
    features, labels = labelled(0, [40, 40])
    found = generative.compare((features + 2, labels), validation, train)
    assert found['synthetic_train']['precision'] < 0.5 < found['validation_train']['precision']
    for name in ('frechet_distance', 'kernel_distance'):
        assert found['synthetic_train'][name] > 3 * abs(found['validation_train'][name])


def test_of_a_large_set_some_are_drawn_and_say_about_the_same(monkeypatch):
    sets = labelled(0, [300, 400]), labelled(1, [300, 400]), labelled(2, [600, 700])
    whole = generative.compare(*sets)
    monkeypatch.setattr(generative, 'MAX_IMAGES', 500)
    seen, measures = [], generative.measures
    monkeypatch.setattr(generative, 'measures',
                        lambda *sets: seen.append(sets[:2]) or measures(*sets))
    some = generative.compare(*sets)
    assert [(len(a), len(b)) for a, b in seen] == [(500, 500)] * 3
    assert (some['images'], some['classes']) == (500, 2)
    for name in ('precision', 'recall', 'coverage'):
        expected = pytest.approx(whole['synthetic_train'][name], abs=0.15)
        assert some['synthetic_train'][name] == expected
    assert generative.compare(*sets) == some


@pytest.mark.parametrize('synthetic, validation', [
    ([2, 1], [3, 0]), ([0, 50], [50, 0]), ([50, 50], [0, 0]), ([0, 0], [9, 9])])
def test_compare_survives_few_images_and_absent_classes(synthetic, validation):
    found = generative.compare(labelled(0, synthetic), labelled(1, validation),
                               labelled(2, [30, 30]))
    assert found['images'] < 10
    for pair in ('synthetic_train', 'validation_train', 'synthetic_validation'):
        assert found[pair] == dict.fromkeys(MEASURES)
