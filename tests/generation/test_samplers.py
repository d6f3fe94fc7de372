"""Samplers against distributions whose denoiser and whose reverse ODE are known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from generation import diffusion, samplers

MEAN, STD = 0.2, 0.15  # of the data; |x_0| < 1 up to five standard deviations
SHAPE = (4, 4, 1)


def gaussian_denoiser(x_t, log_snr):
    """E[x_0 | x_t] for x_0 ~ N(MEAN, STD^2)."""
    alpha, sigma = diffusion.alpha_sigma(diffusion.expand(log_snr))
    gain = STD**2 * alpha / (alpha**2 * STD**2 + sigma**2)
    return MEAN + gain * (x_t - alpha * MEAN)


def keys(count, seed=0):
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(count))


def draw(sampler, steps, count=1024, predict=gaussian_denoiser, schedule='cosine', own_keys=None,
         spacing='uniform'):
    own_keys = keys(count) if own_keys is None else own_keys
    start = jnp.zeros((len(own_keys), *SHAPE))
    return np.asarray(samplers.sample(predict, own_keys, start, sampler=sampler, steps=steps,
                                      schedule=schedule, spacing=spacing))


def ode_solution(steps, count, schedule='cosine'):
    """The exact E[x_0 | x_t] at the last evaluated level, from each key's own noise.

    The probability-flow ODE of a Gaussian carries quantiles:
    x_s = mean_s + std_s / std_t (x_t - mean_t).
    """
    noise = jax.vmap(
        lambda key: jax.random.normal(jax.random.fold_in(key, steps), SHAPE)
    )(keys(count))
    levels = np.asarray(diffusion.log_snr(jnp.array([1.0, 1 / steps]), schedule), np.float64)
    alpha, sigma = 1 / np.sqrt(1 + np.exp(-levels)), 1 / np.sqrt(1 + np.exp(levels))
    std = np.sqrt(alpha**2 * STD**2 + sigma**2)
    x_s = alpha[1] * MEAN + std[1] / std[0] * (np.asarray(noise, np.float64) - alpha[0] * MEAN)
    return MEAN + STD**2 * alpha[1] / std[1] ** 2 * (x_s - alpha[1] * MEAN)


def ancestral_std(steps):
    """Of the images after so many steps: the recursion of the variance (Ho et al. 2020, eq. 7)."""
    levels = np.asarray(diffusion.log_snr(jnp.linspace(1, 0, steps + 1), 'cosine'), np.float64)
    alpha_bar, variance = 1 / (1 + np.exp(-levels)), 1.0
    for i in range(steps):
        gain = STD**2 * np.sqrt(alpha_bar[i]) / (alpha_bar[i] * STD**2 + 1 - alpha_bar[i])
        if i == steps - 1:
            return gain * np.sqrt(variance)
        now, then = alpha_bar[i], alpha_bar[i + 1]
        beta = 1 - now / then
        slope = np.sqrt(then) * beta / (1 - now) * gain + np.sqrt(1 - beta) * (1 - then) / (1 - now)
        variance = slope**2 * variance + (1 - then) / (1 - now) * beta


@pytest.mark.parametrize('steps', [10, 40, 160])
@pytest.mark.parametrize('sampler', samplers.SAMPLERS)
def test_gaussian_data_come_back(sampler, steps):
    images = draw(sampler, steps).astype(np.float64)
    noise = 5 / np.sqrt(images.size)
    assert abs(images.mean() / STD - MEAN / STD) < 0.2 / steps + noise
    # fixed posterior variances (ddpm) and the last step (all) lose variance, as 1 / steps
    lost = {'ddpm': 14, 'ddim': 6, 'dpm++': 4}[sampler] / steps
    assert abs(images.std() / STD - 1) < lost + noise


@pytest.mark.parametrize('steps', [5, 20, 80])
def test_ancestral_sampling_has_the_variance_of_its_recursion(steps):
    images = draw('ddpm', steps).astype(np.float64)
    assert abs(images.std() / ancestral_std(steps) - 1) < 5 / np.sqrt(2 * images.size)


@pytest.mark.parametrize(('sampler', 'order'), [('ddim', 0.8), ('dpm++', 1.4)])
def test_deterministic_samplers_converge_to_the_ode(sampler, order):
    """Steps even in t are uneven in log_snr, which costs a part of the second order."""
    error = {n: np.abs(draw(sampler, n, 32) - ode_solution(n, 32)).max() for n in (320, 640)}
    assert error[320] < 0.05 * STD
    assert np.log2(error[320] / error[640]) > order


def test_second_order_is_closer_at_equal_steps():
    for steps in (10, 20, 40, 80):
        exact = ode_solution(steps, 64)
        ddim, dpm = (np.abs(draw(s, steps, 64) - exact).mean() for s in ('ddim', 'dpm++'))
        assert dpm < ddim / 2


@pytest.mark.parametrize(('sampler', 'error'), [('ddim', 0.04), ('dpm++', 0.01)])
def test_linear_schedule(sampler, error):
    images = draw(sampler, 100, 16, schedule='linear')
    np.testing.assert_allclose(images, ode_solution(100, 16, 'linear'), atol=error)


@pytest.mark.parametrize('steps', [1, 2, 7])
@pytest.mark.parametrize('sampler', samplers.SAMPLERS)
def test_a_point_mass_is_met_exactly(sampler, steps):
    images = draw(sampler, steps, 4, predict=lambda x_t, level: jnp.full_like(x_t, 0.3))
    np.testing.assert_allclose(images, 0.3, atol=1e-6)
    outside = draw(sampler, steps, 4, predict=lambda x_t, level: jnp.full_like(x_t, -1.7))
    np.testing.assert_array_equal(outside, -1)


@pytest.mark.parametrize('sampler', samplers.SAMPLERS)
def test_an_image_depends_on_its_key_alone(sampler):
    whole = draw(sampler, 5, 12)
    np.testing.assert_allclose(draw(sampler, 5, 12), whole, rtol=0)
    for rows in ([3], [7, 2, 2, 11], np.random.default_rng(0).permutation(12)):
        part = draw(sampler, 5, own_keys=keys(12)[np.array(rows)])
        np.testing.assert_allclose(part, whole[np.array(rows)], atol=1e-6)
    assert len(np.unique(whole.round(5).reshape(12, -1), axis=0)) == 12


def test_a_step_of_ancestral_sampling_has_the_moments_of_the_posterior():
    """Ho et al. 2020, eq. 7, in the discrete notation of the paper."""
    beta = np.linspace(1e-4, 0.02, 1000)
    alpha_bar = np.cumprod(1 - beta)
    rng = np.random.default_rng(0)
    x_t, x_0 = rng.standard_normal(SHAPE), rng.uniform(-1, 1, SHAPE)
    for t in (5, 100, 500, 999):
        before = alpha_bar[t - 1]
        mean = (
            np.sqrt(before) * beta[t] / (1 - alpha_bar[t]) * x_0
            + np.sqrt(1 - beta[t]) * (1 - before) / (1 - alpha_bar[t]) * x_t
        )
        variance = (1 - before) / (1 - alpha_bar[t]) * beta[t]
        with jax.enable_x64(True):
            level = lambda a: jnp.asarray(np.log(a / (1 - a)))  # noqa: E731
            here, there = level(alpha_bar[t]), level(before)
            centre = samplers.ddpm_step(x_t, x_0, here, there, np.zeros(SHAPE))
            moved = samplers.ddpm_step(x_t, x_0, here, there, np.ones(SHAPE))
        np.testing.assert_allclose(centre, mean, rtol=1e-8)
        np.testing.assert_allclose(moved - centre, np.sqrt(variance), rtol=1e-6)


def test_first_order_of_dpm_solver_is_ddim():
    rng = np.random.default_rng(0)
    x_t, x_0, previous = (rng.standard_normal(SHAPE).astype('f4') for _ in range(3))
    for here, there in ((-5.0, -2.0), (0.0, 1.0), (3.0, 9.0)):
        expected = samplers.ddim_step(x_t, x_0, here, there)
        found = samplers.dpm_solver_step(x_t, x_0, previous, here, here, there)  # no step before
        np.testing.assert_allclose(found, expected, atol=1e-5)
        # a denoiser that does not move has no slope
        found = samplers.dpm_solver_step(x_t, x_0, x_0, here - 1, here, there)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_second_order_extrapolates_a_linear_denoiser():
    """Lu et al. 2022, algorithm 2: D = (1 + 1 / 2r) x_0 - 1 / 2r previous, r = h_before / h."""
    rng = np.random.default_rng(0)
    x_t, x_0, previous = (rng.standard_normal(SHAPE) for _ in range(3))
    before, here, there = -3.0, -1.0, 0.5  # lambda is half of it
    h, r = (there - here) / 2, (here - before) / (there - here)
    direction = (1 + 1 / (2 * r)) * x_0 - previous / (2 * r)

    def alpha(log_snr):
        return 1 / np.sqrt(1 + np.exp(-log_snr))

    def sigma(log_snr):
        return alpha(-log_snr)

    expected = sigma(there) / sigma(here) * x_t - alpha(there) * (np.exp(-h) - 1) * direction
    found = samplers.dpm_solver_step(x_t, x_0, previous, before, here, there)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_unknown_sampler():
    with pytest.raises(ValueError, match="'bogus'.*ddpm, ddim"):
        draw('bogus', 2, 1)


def test_unknown_spacing():
    with pytest.raises(ValueError, match="unknown spacing 'even'; known: karras, uniform"):
        samplers.noise_levels(3, 'cosine', 'even')


class Recorder:
    """A denoiser that depends on x_t, level and label, and counts its evaluations."""

    def __init__(self):
        self.batches = []

    def __call__(self, x_t, log_snr, labels):
        self.batches.append(len(x_t))
        return x_t * diffusion.expand(1.0 + labels) + diffusion.expand(log_snr)


def test_guidance():
    x_t = jnp.asarray(np.random.default_rng(0).standard_normal((3, *SHAPE)).astype('f4'))
    level, labels, null = jnp.array([-1.0, 0.0, 2.0]), jnp.array([0, 1, 4]), 9
    predict = Recorder()
    conditional = predict(x_t, level, labels)
    unconditional = predict(x_t, level, jnp.full(3, null))
    predict.batches.clear()

    off = samplers.guided(predict, labels, null, 1.0)(x_t, level)
    np.testing.assert_array_equal(off, conditional)
    assert predict.batches == [3]  # one evaluation, not two

    outputs = {}
    for scale in (0.0, 0.5, 1.5, 2.0, 3.0):
        outputs[scale] = np.asarray(samplers.guided(predict, labels, null, scale)(x_t, level))
        expected = unconditional + scale * (conditional - unconditional)
        np.testing.assert_allclose(outputs[scale], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(outputs[0.0], unconditional, rtol=1e-6)
    np.testing.assert_allclose(2 * outputs[1.5], outputs[3.0] + outputs[0.0], rtol=1e-4, atol=1e-4)


def run_guided(interval, scale=2.0, steps=10):
    """(images, batch size of each evaluation) of a guided run of 3 images."""
    sizes = []

    def predict(x_t, log_snr, labels):
        jax.debug.callback(lambda x: sizes.append(len(x)), x_t[:, 0, 0, 0], ordered=True)
        return 0.3 * x_t + diffusion.expand(0.05 * labels + 0.01 * log_snr)

    denoise = samplers.guided(predict, jnp.array([0, 1, 4]), 9, scale, interval, 'cosine')
    images = jax.jit(lambda: samplers.sample(
        denoise, keys(3), jnp.zeros((3, *SHAPE)), sampler='dpm++', steps=steps, schedule='cosine',
        spacing='uniform'))()
    jax.effects_barrier()
    return np.asarray(images), sizes


@pytest.mark.parametrize(
    ('interval', 'guided_steps'),
    [((0.0, 1.0), range(10)), ((0.3, 0.7), range(3, 7)), ((0.0, 0.25), range(8, 10)),
     ((0.85, 1.0), range(2)), ((0.31, 0.39), ()), ((0.5, 0.5), ())],
)
def test_outside_the_interval_one_evaluation_is_saved(interval, guided_steps):
    """Step i stands at t = 1 - i / 10; guided where lo < t <= hi."""
    _, sizes = run_guided(interval)
    assert sizes == [6 if i in guided_steps else 3 for i in range(10)]


def test_the_whole_interval_is_guidance_and_the_empty_one_is_none():
    whole, _ = run_guided((0.0, 1.0))
    bare = samplers.guided(gaussian_of_class, jnp.array([0, 1, 4]), 9, 2.0)
    same = samplers.guided(gaussian_of_class, jnp.array([0, 1, 4]), 9, 2.0, (0.0, 1.0), 'cosine')
    options = {'sampler': 'ddim', 'steps': 10, 'schedule': 'cosine', 'spacing': 'karras'}
    np.testing.assert_array_equal(*(samplers.sample(d, keys(3), jnp.zeros((3, *SHAPE)), **options)
                                    for d in (bare, same)))
    off, _ = run_guided((0.0, 1.0), scale=1.0)
    np.testing.assert_array_equal(run_guided((0.5, 0.5))[0], off)
    part, _ = run_guided((0.2, 0.6))
    assert np.abs(part - whole).max() > 1e-3 and np.abs(part - off).max() > 1e-3


@pytest.mark.parametrize(('interval', 'equal'), [((0.3, 0.7), True), ((0.0, 1.0), False)])
def test_the_second_order_does_not_reach_over_the_ends_of_guidance(interval, equal):
    """Where x_0 is constant but for a jump there, both solvers are exact, and of one mind."""
    options = {'steps': 10, 'schedule': 'cosine', 'spacing': 'uniform'}
    last = samplers.noise_levels(10, 'cosine', 'uniform')[-2]

    def jumps(x_t, log_snr):
        inside = samplers.in_interval(log_snr, (0.3, 0.7), 'cosine')
        level = diffusion.expand(jnp.where(inside, 0.6, -0.2))
        # the image is the last x_0: make it what the steps before have led to
        return jnp.where(diffusion.expand(log_snr) > last - 0.1, x_t, level)

    start = jnp.zeros((64, *SHAPE))
    ddim, dpm = (np.asarray(samplers.sample(jumps, keys(64), start, sampler=sampler,
                                            interval=interval, **options))
                 for sampler in ('ddim', 'dpm++'))
    assert (np.abs(dpm - ddim).max() < 1e-5) == equal


def gaussian_of_class(x_t, log_snr, labels):
    return gaussian_denoiser(x_t, log_snr) + diffusion.expand(0.01 * labels)


def brightness_denoiser(x_t, log_snr, std=0.3):
    """E[x_0 | x_t] for images of one grey value each, drawn from N(MEAN, std^2)."""
    alpha, sigma = diffusion.alpha_sigma(diffusion.expand(log_snr))
    grey = x_t.mean(axis=(1, 2, 3), keepdims=True)
    gain = std**2 * alpha / (alpha**2 * std**2 + sigma**2 / (x_t.size / len(x_t)))
    return MEAN + gain * (grey - alpha * MEAN) + jnp.zeros_like(x_t)


def brightness(side, count, start, spacing='karras'):
    """Of images drawn by the exact denoiser of images of one grey value each, [count]."""
    start = jnp.broadcast_to(start, (count, side, side, 3))
    images = samplers.sample(
        brightness_denoiser, keys(count), start, sampler='dpm++', steps=12, schedule='cosine',
        spacing=spacing,
    )
    return np.asarray(images.mean(axis=(1, 2, 3)), np.float64)


@pytest.mark.parametrize(
    ('spacing', 'least', 'most'), [('karras', 0.9, 1.05), ('uniform', 0.0, 0.75)]
)
def test_few_steps_keep_the_spread_of_brightness(spacing, least, most):
    """The sum over many pixels shows brightness at noise that hides every pixel."""
    assert least < brightness(16, 2048, 0.0, spacing).std() / 0.3 < most


@pytest.mark.parametrize(('side', 'count'), [(16, 2048), (32, 1024), (64, 512)])
def test_a_start_from_afar_gives_brightness_its_mean_and_its_spread(side, count):
    """A start of noise alone does not: the larger the image, the nearer to grey it comes out."""
    greys = MEAN + 0.3 * jax.random.normal(jax.random.key(9), (count, 1, 1, 1))
    drawn = brightness(side, count, greys)
    assert abs(drawn.mean() - MEAN) < 4 * 0.3 / count**0.5 + 0.002
    assert abs(drawn.std() / 0.3 - 1) < 4 / (2 * count) ** 0.5 + 0.03
    lost = MEAN - brightness(side, count, 0.0).mean()
    pixels = 0.3 * (3 * side**2) ** 0.5
    share = pixels / (pixels**2 + samplers.SIGMA_MAX**2) ** 0.5  # of the probability-flow ODE
    assert abs(lost - MEAN * share) < 0.06


def test_karras_levels_rise_from_sigma_max_to_the_clean_end():
    levels = np.asarray(samplers.noise_levels(12, 'linear', 'karras'), np.float64)
    assert levels.shape == (13,) and (np.diff(levels) > 0).all()
    sigma = np.exp(-levels[:-1] / 2)
    np.testing.assert_allclose(sigma[[0, -1]], [samplers.SIGMA_MAX, samplers.SIGMA_MIN], rtol=1e-5)
    np.testing.assert_allclose(np.diff(sigma ** (1 / samplers.RHO), 2), 0, atol=1e-5)
