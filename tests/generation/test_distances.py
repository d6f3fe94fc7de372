"""Distances against SciPy's, whole matrices and cases by hand."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from generation import distances


def test_distances_are_those_of_scipy():
    rng = np.random.default_rng(10)
    for a, b in [
        (rng.normal(size=(7, 5)), rng.normal(size=(9, 5)) + 100),
        (rng.integers(0, 256, (4, 108), np.uint8), rng.integers(0, 256, (6, 108), np.uint8)),
        (np.zeros((2, 3)), np.zeros((2, 3))),
    ]:
        np.testing.assert_allclose(distances.pairwise(a, b), cdist(a, b), rtol=1e-4, atol=1e-3)
    assert distances.pairwise(np.zeros((3, 2)), np.zeros((0, 2))).shape == (3, 0)


def test_neighbour_ratio_by_hand_and_in_chunks(monkeypatch):
    references = np.array([[0.0], [10.0], [30.0]])
    queries = np.array([[1.0], [10.0], [19.0], [30.0]])
    for chunk in (1024, 3):
        monkeypatch.setattr(distances, '_CHUNK', chunk)
        ratio, nearest = distances.neighbour_ratio(queries, references)
        np.testing.assert_allclose(ratio, [1 / 9, 0, 9 / 11, 0], atol=1e-3)
        np.testing.assert_array_equal(nearest, [[0, 1], [1, 0], [1, 2], [2, 1]])


@pytest.mark.parametrize('count', [0, 1])
def test_neighbour_ratio_needs_two_references(count):
    ratio, nearest = distances.neighbour_ratio(np.ones((3, 2)), np.ones((count, 2)))
    np.testing.assert_array_equal(ratio, 1)
    np.testing.assert_array_equal(nearest, 0)


def test_a_query_on_two_equal_references_is_a_copy():
    ratio, _ = distances.neighbour_ratio(np.zeros((1, 4)), np.zeros((2, 4)))
    assert ratio[0] == 0


def test_class_distance_by_hand():
    features, labels = np.array([[0.0], [1.0], [2.0], [9.0], [50.0]]), np.array([0, 0, 0, 0, 1])
    queries = np.zeros((3, 1))
    found = distances.class_distance(queries, np.array([0, 1, 2]), features, labels)
    np.testing.assert_allclose(found, [1, 50, np.inf])  # mean of 0, 1, 2; one; none


@pytest.mark.parametrize('count, k', [(5, 1), (700, 3), (2500, 2)])
def test_nearest_is_that_of_the_whole_matrix(count, k):
    rng = np.random.default_rng(count)
    queries, references = rng.normal(size=(1100, 6)), rng.normal(size=(count, 6))
    distance, rows = distances.nearest(queries, references, k)
    whole = np.sqrt(np.square(queries[:, None] - references[None]).sum(-1))
    np.testing.assert_allclose(distance, np.sort(whole, axis=1)[:, :k], atol=1e-6)
    np.testing.assert_array_equal(rows, np.argsort(whole, axis=1)[:, :k])


@pytest.mark.parametrize('dimensions', [2, 30])
def test_close_pairs_are_those_of_the_whole_matrix(dimensions, monkeypatch):
    monkeypatch.setattr(distances, '_CHUNK', 64)  # several blocks, some of them apart
    rng = np.random.default_rng(dimensions)
    points = rng.integers(0, 256, (400, dimensions)).astype(np.uint8)
    points[200:] = np.clip(points[:200] + rng.normal(0, 9, (200, dimensions)), 0, 255)
    whole = np.sqrt(np.square(points[:, None] - points[None].astype(float)).sum(-1))
    limit = 10.3 * np.sqrt(dimensions)  # no whole number squared: nothing is just at the limit
    wanted = [[i, j] for j in range(400) for i in range(j) if whole[i, j] < limit]
    assert len(wanted) > 50
    assert distances.close_pairs(points, limit).tolist() == wanted
    assert distances.close_pairs(points[:1], limit).shape == (0, 2)
