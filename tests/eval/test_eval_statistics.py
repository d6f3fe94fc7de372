import numpy as np
import pytest
from scipy.stats import binomtest, norm, t, ttest_1samp
from simulated import simulate

from eval import metrics, statistics, student_t, verdict


def test_a_class_without_test_images_counts_as_in_the_summary():
    labels, predictions = np.array([0, 0, 1]), np.array([[0, 2, 1]])
    found = statistics.bootstrap_interval(labels, predictions, 3, samples=20)
    summary = metrics.summary(labels, predictions[0], 3)
    for key in ('accuracy', 'macro_f1', 'macro_recall', 'macro_precision', 'weighted_f1'):
        assert found[key]['mean'] == pytest.approx(summary[key])


def test_draws_that_miss_rare_classes_are_about_the_same_mean():
    """80 of 100 classes have one test image, which is missed in most: a draw lacks a third of
    them, and a mean without these would be of better known classes."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.repeat(np.arange(20), 12), np.arange(20, 100)])
    right = rng.random((3, 320)) < np.where(labels < 20, 0.8, 0.2)
    found = statistics.bootstrap_interval(labels, np.where(right, labels, (labels + 1) % 20), 100)
    for name in ('macro_recall', 'macro_f1', 'macro_precision'):
        low, high = found[name]['ci95']
        assert low < found[name]['mean'] < high, name
    low, high = found['macro_recall']['ci95']
    assert found['macro_recall']['mean'] == pytest.approx((low + high) / 2, abs=0.01)


def test_the_interval_of_f1_lies_around_it():
    """Images that are drawn twice make F1 of few images lower, in all draws."""
    labels = np.repeat(np.arange(37), 3)
    right = np.random.default_rng(0).random(111) < 0.5
    predicted = np.where(right, labels, np.random.default_rng(1).integers(37, size=111))
    found = statistics.bootstrap_interval(labels, predicted[None], 37, samples=500)['macro_f1']
    low, high = found['ci95']
    assert (low + high) / 2 == pytest.approx(found['mean'], abs=0.01) and high - low > 0.1


@pytest.mark.parametrize('images', [1, 18, 400])
def test_where_every_image_is_right_the_interval_is_the_exact_one(images):
    labels = np.arange(images) % 2
    right = statistics.bootstrap_interval(labels, np.stack([labels] * 3), 2, samples=50)
    wrong = statistics.bootstrap_interval(labels, np.stack([1 - labels] * 3), 2, samples=50)
    exact = binomtest(images, images).proportion_ci(method='exact')
    for name in ('accuracy', 'macro_f1'):
        assert right[name]['ci95'] == pytest.approx((exact.low, 1.0))
        assert wrong[name]['ci95'] == pytest.approx((0.0, 1 - exact.low))


def test_where_no_draw_differs_the_interval_still_reaches_both_ways():
    """One test image a class: no resample of a class differs, and a macro mean is between."""
    labels = np.arange(10)
    predictions = np.where(labels < 4, labels, (labels + 1) % 10)[None]
    found = statistics.bootstrap_interval(labels, predictions, 10, samples=50)['macro_recall']
    low, high = found['ci95']
    assert low < found['mean'] == 0.4 < high


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(1)
    covered = np.zeros(2)
    for trial in range(60):
        labels, a = simulate(rng, 150, 1, 0.6)
        wrong = (labels + 1) % 4
        b = np.where(rng.random((1, 150)) < 0.7, labels, wrong)
        one = statistics.bootstrap_interval(labels, a, 4, samples=200, seed=trial)
        two = statistics.paired_bootstrap(labels, a, b, 4, samples=200, seed=trial)
        for i, (low, high), truth in ((0, one['accuracy']['ci95'], 0.6),
                                      (1, two['accuracy']['ci95'], 0.1)):
            covered[i] += low <= truth <= high
    assert (covered / 60 >= 0.88).all() and (covered < 60).all()


def test_the_interval_of_one_seed_is_that_of_the_normal_distribution():
    right = (np.arange(2000) < 1200).astype(int)[None]  # 60%
    labels = np.ones(2000, int)
    found = statistics.bootstrap_interval(labels, right, 2, samples=4000)['accuracy']['ci95']
    half = 1.96 * np.sqrt(0.6 * 0.4 / 2000)
    assert found == pytest.approx((0.6 - half, 0.6 + half), abs=0.08 * half)


def test_p_is_that_of_the_normal_distribution():
    """b is right on 90 images that a has wrong, and wrong on 60 that a has right."""
    labels, image = np.ones(1000, int), np.arange(1000)
    a = (image >= 90).astype(int)[None]
    b = ((image < 90) | (image >= 150)).astype(int)[None]
    found = statistics.paired_bootstrap(labels, a, b, 2, samples=4000)['accuracy']
    assert found['mean'] == pytest.approx(0.03)
    assert found['p'] == pytest.approx(2 * norm.sf(30 / np.sqrt(150)), rel=0.25)


@pytest.mark.parametrize('seeds', [3, 5])
def test_a_few_seeds_that_vary_do_not_claim_a_difference_too_often(seeds):
    """Arms that are equally good, whose seeds vary by more than test images explain."""
    rng, claimed, tried = np.random.default_rng(0), 0, 100
    for _ in range(tried):
        labels, arms = rng.integers(4, size=500), []
        for _ in range(2):
            right = rng.random((seeds, 500)) < rng.normal(0.6, 0.06, (seeds, 1))
            arms.append(np.where(right, labels, (labels + 1) % 4))
        found = statistics.paired_bootstrap(labels, *arms, 4, samples=300)['accuracy']
        low, high = found['ci95']
        claimed += low > 0 or high < 0
        assert found['p'] < 0.1 or low <= 0 <= high
    assert claimed <= 0.09 * tried  # 5%, and two standard errors


def test_pairing_narrows_the_interval():
    rng = np.random.default_rng(0)
    labels, a = simulate(rng, 400, 1, 0.6)
    b = np.where(rng.random(a.shape) < 0.05, labels, a)  # b differs on few images, all to its good
    low, high = statistics.paired_bootstrap(labels, a, b, 4, samples=300)['accuracy']['ci95']
    alone = statistics.bootstrap_interval(labels, a, 4, samples=300)['accuracy']['ci95']
    assert low > 0 and high - low < 0.5 * (alone[1] - alone[0])


def test_seeds_that_disagree_widen_the_interval():
    labels = np.zeros(1000, int)
    luck = np.random.default_rng(0).random(1000)
    steady = (luck > np.array([[0.6], [0.6], [0.6]])).astype(int)
    varied = (luck > np.array([[0.4], [0.6], [0.8]])).astype(int)
    width = [np.ptp(statistics.bootstrap_interval(labels, p, 2, samples=300)['accuracy']['ci95'])
             for p in (steady, varied)]
    assert width[1] > 2 * width[0]


@pytest.mark.parametrize('seeds', [1, 3])
@pytest.mark.parametrize('count', [4, 5, 6, 7])
def test_a_handful_of_images_tells_nothing(count, seeds):
    """b is right on `count` images more than a, and else alike: p is 2 * 0.5^count."""
    labels = np.zeros(200, int)
    a = np.zeros((seeds, 200), int)
    a[:, :count] = 1
    found = statistics.paired_bootstrap(labels, a, np.zeros((seeds, 200), int), 2)
    for key in ('accuracy', 'macro_f1'):
        assert (found[key]['ci95'][0] > 0) == (count >= 6)
        assert found[key]['mean'] > 0 and (found[key]['p'] < 0.05) == (count >= 6)
    assert (statistics.mcnemar(labels, a[0], np.zeros(200, int)) < 0.05) == (count >= 6)
    needed = verdict.images_needed(count / 200, found['accuracy']['ci95'], 200)
    assert (needed >= 200 * 6 / count) == (count < 6)


def test_a_handful_of_images_tells_nothing_of_a_group():
    labels = np.array([0] * 100 + [1] * 4)
    a = np.where(np.arange(104) < 20, 1, labels)
    a[100:] = 0
    group = {'rare': np.array([False, True]), 'frequent': np.array([True, False])}
    found = statistics.paired_bootstrap(labels, a[None], labels[None], 2, groups=group)
    low, high = found['rare_accuracy']['ci95']
    assert low == pytest.approx(1 - np.sqrt(6 / 4)) and high == 1
    assert found['frequent_accuracy']['ci95'][0] > 0 and found['accuracy']['ci95'][0] > 0


def test_a_handful_of_images_tells_nothing_of_a_class():
    """4 images of class 1 and 20 of 100 of class 0 are right in b alone; of class 2 nothing is."""
    labels = np.repeat([0, 1, 2], [100, 4, 10])
    b = np.where(labels == 2, 0, labels)
    a = np.where(np.arange(114) < 20, 1, np.where(labels == 1, 0, b))
    found = statistics.paired_bootstrap(labels, a[None], b[None], 3)['per_class_recall']
    np.testing.assert_allclose(found['mean'], [0.2, 1, 0])
    (low, _), rare, same = found['ci95']
    assert low > 0
    np.testing.assert_allclose(rare, [1 - np.sqrt(6 / 4), 1])
    exact = binomtest(10, 10).proportion_ci(method='exact').low
    np.testing.assert_allclose(same, [exact - 1, 1 - exact])


def test_where_all_of_a_few_are_gained_the_interval_is_no_point():
    labels, a = np.repeat([0, 1], 6), np.repeat([1, 0], 6)
    low, high = statistics.paired_bootstrap(labels, a[None], labels[None], 2)['accuracy']['ci95']
    assert low == pytest.approx(binomtest(12, 12).proportion_ci(method='exact').low) and high == 1


def test_no_difference_reaches_beyond_one():
    once = np.zeros(1, int)
    found = statistics.paired_bootstrap(once, once[None] + 1, once[None], 2)
    assert found['accuracy']['ci95'] == (-1, 1)


def test_a_draw_that_misses_a_group_says_nothing_of_it():
    labels = np.array([0] * 100 + [1] * 3)
    group = {'rare': np.array([False, True, False]), 'none': np.array([False, False, True])}
    found = statistics.bootstrap_interval(labels, labels[None], 3, groups=group)
    assert found['rare_accuracy']['mean'] == 1
    assert found['rare_accuracy']['ci95'] == pytest.approx((0.025 ** (1 / 3), 1))  # of its 3 images
    assert found['none_accuracy']['mean'] == 0
    wrong = np.where(labels == 1, 0, labels)[None]
    paired = statistics.paired_bootstrap(labels, wrong, labels[None], 3, groups=group)
    assert paired['rare_accuracy']['mean'] == 1 and np.isfinite(paired['rare_accuracy']['p'])


def test_identical_arms_differ_by_zero_as_far_as_so_many_images_can_tell():
    labels, predictions = simulate(np.random.default_rng(0), 60, 3, 0.6)
    group = {'first': np.array([True, False, False, False])}
    found = statistics.paired_bootstrap(labels, predictions, predictions, 4, samples=50,
                                        groups=group)
    for name, result in found.items():
        assert not np.any(result['mean']) and np.all(result['p'] == 1), name
        if np.ndim(result['mean']) == 0:
            images = (labels == 0).sum() if name == 'first_accuracy' else 60
            bound = 1 - binomtest(images, images).proportion_ci(method='exact').low
            assert result['ci95'] == pytest.approx((-bound, bound)), name
    assert 'not distinguishable' in verdict.sentence(
        'augmented', 'original', {'accuracy': found['accuracy']}, 60)


def test_arms_swapped_change_the_sign_and_nothing_else():
    rng = np.random.default_rng(0)
    labels, a = simulate(rng, 80, 2, 0.5)
    b = np.where(rng.random(a.shape) < 0.2, labels, a)
    forth = statistics.paired_bootstrap(labels, a, b, 4, samples=100)
    back = statistics.paired_bootstrap(labels, b, a, 4, samples=100)
    for name in forth:
        np.testing.assert_allclose(forth[name]['mean'], -np.asarray(back[name]['mean']))
        np.testing.assert_allclose(forth[name]['ci95'], -np.flip(back[name]['ci95'], -1))
        np.testing.assert_array_equal(forth[name]['p'], back[name]['p'])


def test_bootstrap_is_repeatable():
    labels, predictions = simulate(np.random.default_rng(0), 40, 1, 0.5)
    first = statistics.bootstrap_interval(labels, predictions, 4, samples=30, seed=3)
    again = statistics.bootstrap_interval(labels, predictions, 4, samples=30, seed=3)
    other = statistics.bootstrap_interval(labels, predictions, 4, samples=30, seed=4)
    assert first['macro_f1'] == again['macro_f1'] != other['macro_f1']


@pytest.mark.parametrize('labels, predictions, message', [
    (np.zeros(3, int), np.zeros(3, int), 'need labels'),
    (np.zeros(3, int), np.zeros((1, 4), int), 'need labels'),
    (np.zeros(3, int), np.full((1, 3), 2), 'predictions must lie'),
    (np.full(3, -1), np.zeros((1, 3), int), 'labels must lie')])
def test_bootstrap_refuses_what_does_not_fit(labels, predictions, message):
    with pytest.raises(ValueError, match=message):
        statistics.bootstrap_interval(labels, predictions, 2)


def test_paired_bootstrap_needs_the_same_seeds():
    with pytest.raises(ValueError, match='same seeds'):
        statistics.paired_bootstrap(np.zeros(3, int), np.zeros((1, 3), int),
                                    np.zeros((2, 3), int), 2)


def table(both, only_a, only_b, neither):
    """Labels and predictions with these counts of images that both, one or no arm gets right."""
    counts = both, only_a, only_b, neither
    return (np.zeros(sum(counts), int), np.repeat([0, 0, 1, 1], counts),
            np.repeat([0, 1, 0, 1], counts))


@pytest.mark.parametrize('only_a, only_b', [(3, 12), (7, 7), (0, 5), (10, 2)])
def test_mcnemar_equals_the_binomial_test(only_a, only_b):
    expected = binomtest(only_b, only_a + only_b, 0.5).pvalue
    assert statistics.mcnemar(*table(20, only_a, only_b, 9)) == pytest.approx(expected)


def test_mcnemar_closed_forms():
    assert statistics.mcnemar(*table(5, 0, 0, 5)) == 1.0
    assert statistics.mcnemar(*table(5, 0, 4, 5)) == pytest.approx(2 * 0.5 ** 4)


def test_mcnemar_over_seeds_is_twice_the_median():
    labels, a, _ = table(0, 10, 0, 0)
    b = np.zeros((3, 10), int)
    b[0, :6], b[1, :8], b[2, :10] = 1, 1, 1  # p = 2 / 2^6, 2 / 2^8, 2 / 2^10
    found = statistics.mcnemar_over_seeds(labels, np.stack([a] * 3), b)
    assert found['per_seed'] == pytest.approx([2 / 2 ** 6, 2 / 2 ** 8, 2 / 2 ** 10])
    assert found['combined'] == pytest.approx(2 * 2 / 2 ** 8)
    assert statistics.mcnemar_over_seeds(labels, a[None], a[None])['combined'] == 1.0
    one = statistics.mcnemar_over_seeds(labels, a[None], b[:1])
    assert one['combined'] == one['per_seed'][0]


def test_mcnemar_per_class_sees_the_own_images_only():
    labels = np.repeat([0, 1, 2], [6, 4, 0])
    a, b = np.zeros((1, 10), int), np.where(labels == 0, 1, 0)[None]
    np.testing.assert_allclose(statistics.mcnemar_per_class(labels, a, b, 3), [2 / 2 ** 6, 1, 1])


def recalls(rng, classes, images, seeds, spread):
    """Predictions of `seeds` classifiers whose recalls are 0.7, give or take `spread`."""
    labels = np.repeat(np.arange(classes), images)
    recall = np.clip(rng.normal(0.7, spread, (seeds, classes)), 0, 1)[:, labels]
    right = rng.random((seeds, len(labels))) < recall
    return labels, np.where(right, labels, (labels + 1) % classes)


def test_a_class_whose_recall_differs_from_seed_to_seed_has_not_changed():
    rng, named = np.random.default_rng(0), {'mcnemar': 0, 'student': 0}
    for _ in range(20):
        labels, a = recalls(rng, 10, 300, 5, 0.08)
        _, b = recalls(rng, 10, 300, 5, 0.08)
        error = statistics.paired_bootstrap(labels, a, b, 10, samples=200)
        error = error['per_class_recall']['standard_error']
        p = {'mcnemar': statistics.mcnemar_per_class(labels, a, b, 10),
             'student': statistics.student_per_class(labels, a, b, 10, error)}
        for test in named:
            named[test] += statistics.holm(p[test]).min() < 0.05
    assert named['mcnemar'] > 10 and named['student'] <= 3


@pytest.mark.parametrize('seeds', [1, 5])
def test_where_seeds_agree_student_tests_what_images_tell(seeds):
    labels = np.zeros(400, int)
    b = np.zeros((seeds, 400), int)
    a = b.copy()
    a[:, :16] = 1  # 16 images of 400: z = 4
    error = statistics.paired_bootstrap(labels, a, b, 2)['per_class_recall']['standard_error']
    assert error[0] == pytest.approx(np.sqrt(0.04 * 0.96 / 400), rel=0.1)
    p = statistics.student_per_class(labels, a, b, 2, error)
    assert p[0] == pytest.approx(2 * norm.sf(0.04 / error[0])) and p[1] == 1
    gone = statistics.student_per_class(labels, 1 - b, b, 2, np.zeros(2))  # all, in every draw
    assert gone[0] == 0


def test_holm_worked_example():
    # 0.005 * 4, 0.01 * 3, 0.03 * 2, and 0.04 * 1 raised to the step before it.
    np.testing.assert_allclose(statistics.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(statistics.holm([0.9, 0.8]), [1, 1])


def test_over_runs_is_students_t():
    runs = [0.021, 0.049, 0.034]
    found = statistics.over_runs(runs)
    expected = ttest_1samp(runs, 0).confidence_interval()
    assert found['mean'] == pytest.approx(np.mean(runs))
    assert found['ci95'] == pytest.approx((expected.low, expected.high))
    assert found['std'] == pytest.approx(np.std(runs, ddof=1))


@pytest.mark.parametrize('between', [0.2, 1.0])
def test_over_runs_holds_the_truth_where_test_images_vary_too(between):
    """Nothing to be found: what all runs share, their test images, moves their mean."""
    rng, images = np.random.default_rng(0), 0.75
    held = 0
    for _ in range(2000):
        runs = rng.normal(0, images) + rng.normal(0, between, 3)
        low, high = statistics.over_runs(runs, images)['ci95']
        held += low <= 0 <= high
    assert 0.95 < held / 2000 < 0.99


def test_what_images_contribute_is_known_of_accuracy():
    """The mean over seeds of an image's difference, its standard deviation over the root of n."""
    rng = np.random.default_rng(0)
    labels, a = simulate(rng, 400, 5, 0.5)
    b = np.where(rng.random(a.shape) < 0.2, labels, a)
    found = statistics.images_error(labels, a, b, 4, groups={'first': np.arange(4) < 1})
    image = ((b == labels).astype(float) - (a == labels)).mean(axis=0)
    assert found['accuracy'] == pytest.approx(image.std() / 20, rel=0.06)
    own = image[labels == 0]
    assert found['first_accuracy'] == pytest.approx(own.std() / len(own) ** 0.5, rel=0.06)
    assert 0 < found['macro_f1'] < 2 * found['accuracy']


def test_runs_that_agree_exactly_prove_nothing():
    found = statistics.over_runs([1 / 300, 1 / 300])
    assert found['ci95'] == pytest.approx((0, 2 / 300)) and found['std'] == 0


def test_clusters_count_as_what_they_are():
    """Of 60 people with 5 alike images each there are 60 independent answers, not 300.

    How much they vary is less well known: Student's t instead of the normal quantile.
    """
    rng = np.random.default_rng(3)
    people = np.repeat(np.arange(60), 5)
    labels = np.ones(300, int)
    a, b = ((rng.random(60) < share).astype(int)[people][None] for share in (0.5, 0.7))
    once = slice(None, None, 5)
    for whole, alone in (
        (statistics.bootstrap_interval(labels, a, 2, clusters=people),
         statistics.bootstrap_interval(labels[once], a[:, once], 2)),
        (statistics.paired_bootstrap(labels, a, b, 2, clusters=people),
         statistics.paired_bootstrap(labels[once], a[:, once], b[:, once], 2)),
    ):
        for name in ('accuracy', 'weighted_f1'):
            assert whole[name]['mean'] == pytest.approx(alone[name]['mean'])
            wider = np.ptp(whole[name]['ci95']) / np.ptp(alone[name]['ci95'])
            assert wider == pytest.approx(t.ppf(0.975, 59) / 1.96, rel=0.08)
    error = statistics.images_error(labels, a, b, 2, clusters=people)['accuracy']
    alone = statistics.images_error(labels[once], a[:, once], b[:, once], 2)['accuracy']
    assert error == pytest.approx(alone * t.ppf(0.975, 59) / 1.96, rel=0.04)
    plain = statistics.paired_bootstrap(labels, a, b, 2)['accuracy']
    assert np.ptp(whole['accuracy']['ci95']) > 1.8 * np.ptp(plain['ci95'])


@pytest.mark.parametrize('seeds', [1, 5])
def test_few_clusters_rarely_tell_a_difference_where_there_is_none(seeds):
    """Each person's images are all easier, or harder, for one arm: G answers, and G is few."""
    rng, found, small, trials, people = np.random.default_rng(5), 0, 0, 150, 8
    of = np.repeat(np.arange(people), 25)
    labels = np.ones(len(of), int)
    for _ in range(trials):
        a, b = (np.clip(0.6 + 0.15 * rng.standard_normal(people), 0, 1)[of] for _ in range(2))
        a, b = ((rng.random(len(of)) < share).astype(int) for share in (a, b))
        pair = (np.tile(arm, (seeds, 1)) for arm in (a, b))
        result = statistics.paired_bootstrap(labels, *pair, 2, clusters=of, samples=200)['accuracy']
        low, high = result['ci95']
        found += not low <= 0 <= high
        small += result['p'] < 0.05
    assert max(found, small) <= 0.05 * trials + 2 * (0.05 * 0.95 * trials) ** 0.5


def test_a_class_of_few_clusters_has_no_small_p():
    people, labels = np.repeat(np.arange(6), 10), np.repeat([0, 1], 30)
    a, b = np.where(labels == 0, 1, labels)[None], labels[None]  # 30 images turn right, of 3 people
    assert statistics.mcnemar_per_class(labels, a, b, 2)[0] < 1e-8
    assert statistics.mcnemar_per_class(labels, a, b, 2, people).tolist() == [0.0625, 1]


def test_fewer_clusters_than_any_test_needs_hold_zero():
    """b is right on 20 images more, all of four people: no exact test tells so few from chance."""
    people = np.repeat(np.arange(40), 5)
    labels, a = np.ones(200, int), np.ones((1, 200), int)
    a[:, :20] = 0
    b = np.ones((1, 200), int)
    assert statistics.paired_bootstrap(labels, a, b, 2)['accuracy']['ci95'][0] > 0
    low, high = statistics.paired_bootstrap(labels, a, b, 2, clusters=people)['accuracy']['ci95']
    assert low <= 0 < high
    right = statistics.bootstrap_interval(labels, b, 2, clusters=people)['accuracy']['ci95']
    exact = binomtest(40, 40).proportion_ci(method='exact')
    assert right == pytest.approx((exact.low, 1.0))


def unequal_seeds():
    """(labels, arm, another, that is right on 10, 60 and 200 images more, by its three seeds)."""
    labels, before = np.ones(2000, int), np.zeros((3, 2000), int)
    before[:, :1000] = 1
    after = before.copy()
    for seed, more in enumerate((10, 60, 200)):
        after[seed, 1000 : 1000 + more] = 1
    return labels, before, after


def test_seeds_that_disagree_have_no_small_p():
    found = statistics.paired_bootstrap(*unequal_seeds(), 2)['accuracy']
    assert found['ci95'][0] < 0 and found['p'] > 0.05


def test_another_mistake_is_no_difference():
    labels = np.zeros(200, int)
    before = np.ones((1, 200), int)
    after = np.where(np.arange(200) < 4, 0, 2)[None]  # right on four, otherwise wrong on the rest
    found = statistics.paired_bootstrap(labels, before, after, 3)['accuracy']
    assert found['ci95'][0] <= 0 and found['p'] >= 0.0625
    people, after = np.arange(200) // 2, np.where(np.arange(200) < 10, 0, 2)[None]
    assert statistics.mcnemar_per_class(labels, before, after, 3, people)[0] == 0.0625


def test_each_seed_may_gain_other_images():
    labels, before = np.zeros(300, int), np.ones((3, 300), int)
    after = before.copy()
    for seed in range(3):
        after[seed, 100 * seed : 100 * seed + 60] = 0
    assert statistics.paired_bootstrap(labels, before, after, 2)['accuracy']['ci95'][0] > 0


def test_the_interval_of_a_score_ends_at_one():
    wrong = np.arange(200) >= np.array([[200], [196], [180]])
    found = statistics.bootstrap_interval(np.zeros(200, int), wrong.astype(int), 2)
    assert found['accuracy']['ci95'][1] == 1


def test_degrees_of_freedom_are_satterthwaites():
    values = np.array([0.1, 0.2, 0.4])
    own = values.std(ddof=1) / np.sqrt(3)
    assert student_t.freedom(values, 2 * own, np.inf) == pytest.approx(2 * 2**4)
    assert student_t.freedom(values, own / 2, np.inf) == pytest.approx(2)
    assert student_t.freedom(values, own / 2, 10) == pytest.approx(2)
    # of four parts of the variance one is the seeds', three are those of 10 clusters
    expected = 4**2 / (1 / 2 + 3**2 / 9)
    assert student_t.freedom(values, 2 * own, 10) == pytest.approx(expected)
    assert student_t.freedom(values[:1], 0.3, 10) == student_t.freedom(values * 0, 0.3, 10) == 9
    assert np.isinf(student_t.freedom(values[:1], 0.3, np.inf))
