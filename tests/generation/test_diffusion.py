import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from generation import diffusion

LEVELS = np.array([-8.0, -3.0, -0.5, 0.0, 1.0, 4.0, 8.0], np.float32)
TIMES = np.linspace(0, 1, 201, dtype=np.float32)


@pytest.fixture(scope='module')
def pair():
    """x_0, eps [7, 4, 4, 3] and their log_snr, one level an example."""
    rng = np.random.default_rng(0)
    x_0 = rng.uniform(-1, 1, (len(LEVELS), 4, 4, 3)).astype('f4')
    return x_0, rng.standard_normal(x_0.shape).astype('f4'), diffusion.expand(jnp.array(LEVELS))


def test_variance_is_preserved_and_log_snr_is_what_it_says():
    levels = np.linspace(-12, 12, 97, dtype='f4')
    alpha, sigma = (np.asarray(x, np.float64) for x in diffusion.alpha_sigma(levels))
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, atol=1e-6)
    np.testing.assert_allclose(np.log(alpha**2 / sigma**2), levels, atol=1e-4)


@pytest.mark.parametrize('schedule', diffusion.SCHEDULES)
def test_log_snr_falls_within_its_bounds(schedule):
    levels = np.asarray(diffusion.log_snr(TIMES, schedule))
    inside = (levels < diffusion.LOG_SNR_MAX) & (levels > diffusion.LOG_SNR_MIN)
    assert inside.sum() > 190
    assert np.all(np.diff(levels[inside]) < 0) and np.all(np.diff(levels) <= 0)
    assert levels[0] == diffusion.LOG_SNR_MAX and levels[-1] < -9
    assert np.isfinite(levels).all()


def test_cosine_schedule():
    t = np.linspace(0.01, 0.99, 50)
    alpha, sigma = diffusion.alpha_sigma(diffusion.log_snr(jnp.asarray(t, jnp.float32), 'cosine'))
    np.testing.assert_allclose(alpha, np.cos(np.pi * t / 2), rtol=1e-4)
    np.testing.assert_allclose(sigma, np.sin(np.pi * t / 2), rtol=1e-4)


def test_linear_schedule_is_the_limit_of_the_discrete_betas():
    """Ho et al. 2020, section 4: 1000 betas from 1e-4 to 0.02."""
    log_alpha_bar = np.cumsum(np.log1p(-np.linspace(1e-4, 0.02, 1000)))
    n = np.array([50, 100, 250, 500, 750, 1000])
    level = np.asarray(diffusion.log_snr(jnp.asarray(n / 1000), 'linear'), np.float64)
    ours = -np.logaddexp(0, -level)  # log sigmoid(log_snr) = log alpha_bar
    np.testing.assert_allclose(ours, log_alpha_bar[n - 1], rtol=0.03)


def test_unknown_schedule():
    with pytest.raises(ValueError, match="'sigmoid'.*cosine, linear"):
        diffusion.log_snr(TIMES, 'sigmoid')


def test_unknown_prediction():
    with pytest.raises(KeyError, match='x_0'):
        diffusion.to_x0(jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 2, 2, 1)), jnp.zeros(1), 'x_0')


@pytest.mark.parametrize('prediction', diffusion.PREDICTIONS)
def test_target_leads_back_to_x0_and_eps(pair, prediction):
    x_0, eps, level = pair
    x_t = diffusion.q_sample(x_0, eps, level)
    output = diffusion.target(x_0, eps, level, prediction)
    # float32 rounding of x_t is divided by alpha or sigma, which are e^-4 at the ends
    np.testing.assert_allclose(
        diffusion.to_x0(output, x_t, level, prediction), x_0, rtol=1e-4, atol=2e-4
    )
    np.testing.assert_allclose(diffusion.to_eps(x_0, x_t, level), eps, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize(('a', 'b'), [*itertools.product(diffusion.PREDICTIONS, repeat=2)])
def test_every_parameterisation_converts_into_every_other(pair, a, b):
    """Output of kind a -> x_0 -> eps -> target of kind b -> x_0: the same image."""
    x_0, eps, level = (x[1:-1] for x in pair)
    x_t = diffusion.q_sample(x_0, eps, level)
    found = diffusion.to_x0(diffusion.target(x_0, eps, level, a), x_t, level, a)
    noise = diffusion.to_eps(found, x_t, level)
    again = diffusion.to_x0(diffusion.target(found, noise, level, b), x_t, level, b)
    np.testing.assert_allclose(again, x_0, atol=2e-4)


@pytest.mark.parametrize('gamma', [1.0, 5.0])
def test_the_three_weighted_errors_are_one_error_of_x0(pair, gamma):
    x_0, eps, level = pair
    x_t = np.asarray(diffusion.q_sample(x_0, eps, level), np.float64)
    snr = np.exp(np.float64(LEVELS))
    alpha, sigma = np.sqrt(snr / (1 + snr)), np.sqrt(1 / (1 + snr))
    wrong = x_0 + np.random.default_rng(1).normal(0, 0.1, x_0.shape)
    expected = np.minimum(snr, gamma) * np.square(wrong - x_0).mean(axis=(1, 2, 3))
    column = lambda x: x[:, None, None, None]  # noqa: E731
    wrong_eps = (x_t - column(alpha) * wrong) / column(sigma)
    wrong_v = column(alpha) * wrong_eps - column(sigma) * wrong
    outputs = {'x0': wrong, 'eps': wrong_eps, 'v': wrong_v}
    for prediction, output in outputs.items():
        target = diffusion.target(x_0, eps, level, prediction)
        weight = diffusion.loss_weight(jnp.array(LEVELS), prediction, gamma)
        error = weight * np.square(output - target).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(error, expected, rtol=2e-2, err_msg=prediction)


@pytest.mark.parametrize('prediction', diffusion.PREDICTIONS)
def test_gamma_zero_is_the_plain_error(prediction):
    np.testing.assert_array_equal(diffusion.loss_weight(jnp.array(LEVELS), prediction, 0.0), 1)


def test_min_snr_gamma_is_that_of_the_paper():
    """Hang et al. 2023: min(SNR, g) / SNR for eps, / (SNR + 1) for v."""
    snr = np.exp(LEVELS)
    for prediction, divisor in {'x0': 1, 'eps': snr, 'v': snr + 1}.items():
        weight = diffusion.loss_weight(jnp.array(LEVELS), prediction, 5.0)
        np.testing.assert_allclose(weight, np.minimum(snr, 5) / divisor, rtol=1e-5)


@pytest.mark.parametrize('level', [-4.0, 0.0, 4.0])
def test_moments_of_x_t(level):
    n, x_0 = 200_000, 0.6
    eps = np.random.default_rng(2).standard_normal(n).astype('f4')
    x_t = np.asarray(diffusion.q_sample(x_0, eps, jnp.float32(level)), np.float64)
    alpha, sigma = 1 / np.sqrt(1 + np.exp(-level)), 1 / np.sqrt(1 + np.exp(level))
    assert abs(x_t.mean() - alpha * x_0) < 5 * sigma / np.sqrt(n)
    assert abs(x_t.std() / sigma - 1) < 5 / np.sqrt(2 * n)


@pytest.fixture(scope='module')
def outputs(pair):
    """What a network may say of the examples for two classes, and their times."""
    rng = np.random.default_rng(3)
    one, other = (rng.standard_normal(pair[0].shape).astype('f4') for _ in range(2))
    return jnp.array(one), jnp.array(other), jnp.linspace(0.05, 1, len(LEVELS))


def test_class_balancing_is_that_of_the_paper(outputs):
    """tau n |eps(y) - eps(y')|^2 (1 + gamma), n in 1..1000; nothing between equal classes."""
    one, other, t = outputs
    n = np.asarray(t, np.float64) * 1000
    gap = np.square(np.asarray(one, np.float64) - other).mean(axis=(1, 2, 3))
    found = diffusion.class_balancing(one, other, t, 0.001, 0.25)
    np.testing.assert_allclose(found, 0.001 * n * gap * 1.25, rtol=1e-5)
    np.testing.assert_array_equal(diffusion.class_balancing(one, one, t, 0.001, 0.25), 0)


@pytest.mark.parametrize('commitment', [0.0, 0.25])
def test_class_balancing_stops_the_gradients_that_the_paper_stops(outputs, commitment):
    one, other, t = outputs
    total = lambda a, b: diffusion.class_balancing(a, b, t, 0.002, commitment).sum()  # noqa: E731
    pull, commit = jax.grad(total, (0, 1))(one, other)
    expected = 2 * diffusion.expand(t) * 2 * (one - other) / one[0].size
    np.testing.assert_allclose(pull, expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(commit, -commitment * expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize('gamma', [0.5, 5.0])
def test_class_balancing_is_the_same_for_every_prediction(pair, outputs, gamma):
    """The same two guesses of x_0, said as eps, x_0 and v; as for the error itself."""
    x_t = diffusion.q_sample(*pair)
    alpha, sigma = diffusion.alpha_sigma(pair[2])
    found = {}
    for prediction in diffusion.PREDICTIONS:
        said = []
        for x_0 in outputs[:2]:
            eps = (x_t - alpha * x_0) / sigma
            said.append({'x0': x_0, 'eps': eps, 'v': alpha * eps - sigma * x_0}[prediction])
        weight = diffusion.loss_weight(jnp.array(LEVELS), prediction, gamma)
        found[prediction] = weight * diffusion.class_balancing(*said, outputs[2], 0.001, 0.25)
    for prediction in ('eps', 'v'):
        np.testing.assert_allclose(found[prediction], found['x0'], rtol=2e-2)
