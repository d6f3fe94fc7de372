"""The reverse process: from noise to images in one `lax.scan`.

An image's noise depends on its own key alone, so any subset of images can be made again in any
batch, on any number of devices.
"""

import jax
import jax.numpy as jnp

from generation import diffusion

SAMPLERS = ('ddpm', 'ddim', 'dpm++')
SPACINGS = ('karras', 'uniform')
SIGMA_MAX, SIGMA_MIN, RHO = 30.0, 0.03, 7.0  # of 'karras': sigma / alpha of the first, last step


def guided(predict_x0, labels, null_label, guidance_scale, interval=(0.0, 1.0), schedule=None):
    """Classifier-free guidance on x_0 (Ho & Salimans 2022): uncond + scale * (cond - uncond).

    Linear in x_0, hence the same as guidance on eps at equal x_t. A scale of 1 is off and costs
    one evaluation instead of two, as do the levels outside the interval.

    Args:
        predict_x0: (x_t [B, H, W, C], log_snr [B], labels [B]) -> x_0 [B, H, W, C].
        interval: (lo, hi), guidance at lo < t <= hi alone (Kynkaanniemi et al. 2024).
        schedule: what turns the interval into levels; all images of a batch share one.
    Returns:
        (x_t, log_snr) -> x_0.
    """
    lo, hi = interval

    def plain(x_t, log_snr):
        return predict_x0(x_t, log_snr, labels)

    if guidance_scale == 1 or lo >= hi:
        return plain

    def predict(x_t, log_snr):
        both = predict_x0(
            jnp.concatenate([x_t, x_t]),
            jnp.concatenate([log_snr, log_snr]),
            jnp.concatenate([labels, jnp.full_like(labels, null_label)]),
        )
        conditional, unconditional = jnp.split(both, 2)
        return unconditional + guidance_scale * (conditional - unconditional)

    if lo <= 0 and hi >= 1:
        return predict

    def where_inside(x_t, log_snr):
        inside = in_interval(log_snr[0], interval, schedule)
        return jax.lax.cond(inside, predict, plain, x_t, log_snr)

    return where_inside


def in_interval(log_snr, interval, schedule):
    """Whether levels lie at lo < t <= hi of `interval`, bool of the shape of `log_snr`."""
    lo, hi = interval
    # the slack, less than a step, keeps a step at lo or hi on its side in float32
    most, least = diffusion.log_snr(jnp.array([lo, hi]), schedule) - 1e-4
    return (least <= log_snr) & ((log_snr < most) | (lo <= 0))


def sample(predict_x0, keys, start, *, sampler, steps, schedule, spacing, interval=(0.0, 1.0)):
    """Draws one image per key.

    Args:
        predict_x0: (x_t [B, H, W, C], log_snr [B]) -> x_0; guidance included.
        keys: one PRNG key per image, [B].
        start: about what x_0 is, [B, H, W, C]: the noise of the first level is added to it.
        sampler: 'ddpm' (ancestral), 'ddim' or 'dpm++' (DPM-Solver++(2M)).
        steps: network evaluations (twice as many with guidance).
        schedule, spacing: see `noise_levels`.
        interval: of `guided`, at whose ends x_0 jumps.
    Returns:
        Images [B, H, W, C] in [-1, 1].

    Raises:
        ValueError: `sampler` is none of SAMPLERS.
    """
    levels = noise_levels(steps, schedule, spacing)
    # the second order takes x_0 for smooth, and has nothing to go by where guidance sets in or ends
    inside = in_interval(levels[:-1], interval, schedule)
    smooth = (inside == jnp.roll(inside, 1)).at[0].set(False)
    before = jnp.where(smooth, jnp.roll(levels[:-1], 1), levels[:-1])

    shape = start.shape[1:]
    draw = jax.vmap(lambda key, i: jax.random.normal(jax.random.fold_in(key, i), shape), (0, None))
    # the start's noise has the number after the last step's: other `steps` are other images
    x_1 = diffusion.q_sample(start, draw(keys, steps), levels[0])

    def step(carry, i):
        x_t, previous_x0 = carry
        here, there = levels[i], levels[i + 1]
        x_0 = predict_x0(x_t, jnp.full(len(keys), here))
        x_0 = jnp.clip(x_0, -1, 1)
        if sampler == 'ddpm':
            x_s = ddpm_step(x_t, x_0, here, there, draw(keys, i))
        elif sampler == 'ddim':
            x_s = ddim_step(x_t, x_0, here, there)
        elif sampler == 'dpm++':
            x_s = dpm_solver_step(x_t, x_0, previous_x0, before[i], here, there)
        else:
            raise ValueError(f'unknown sampler {sampler!r}; known: {", ".join(SAMPLERS)}')
        return (x_s, x_0), None

    (_, x_0), _ = jax.lax.scan(step, (x_1, jnp.zeros_like(x_1)), jnp.arange(steps))
    return x_0


def noise_levels(steps, schedule, spacing):
    """log_snr at the start of each step and at the clean end, increasing, [steps + 1].

    'karras': sigma / alpha spaced as in Karras et al. 2022, eq. 5, whatever the schedule, from
    where a start that is coarsely right is enough (`priors`). An image's brightness and colour
    are settled where sigma / alpha is 10 to 50, which few steps even in t jump over.
    'uniform': even in the schedule's t.

    Raises:
        ValueError: another spacing.
    """
    if spacing == 'uniform':
        return diffusion.log_snr(jnp.linspace(1.0, 0.0, steps + 1), schedule)
    if spacing != 'karras':
        raise ValueError(f"unknown spacing {spacing!r}; known: {', '.join(SPACINGS)}")
    ends = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    sigma = jnp.linspace(*ends, steps) ** RHO
    return jnp.append(-2 * jnp.log(sigma), diffusion.LOG_SNR_MAX)  # of the end no x_0 is asked


def ddpm_step(x_t, x_0, log_snr_t, log_snr_s, noise):
    """Draws from q(x_s | x_t, x_0), s < t: the ancestral step (Ho et al. 2020, eq. 6-7)."""
    alpha_t, _ = diffusion.alpha_sigma(log_snr_t)
    alpha_s, sigma_s = diffusion.alpha_sigma(log_snr_s)
    ratio = jnp.exp(log_snr_t - log_snr_s)  # SNR_t / SNR_s, below 1
    mean = ratio * alpha_s / alpha_t * x_t + (1 - ratio) * alpha_s * x_0
    return mean + sigma_s * jnp.sqrt(1 - ratio) * noise


def ddim_step(x_t, x_0, log_snr_t, log_snr_s):
    """The deterministic step (Song et al. 2021, arXiv 2010.02502, eq. 12 with sigma = 0)."""
    return diffusion.q_sample(x_0, diffusion.to_eps(x_0, x_t, log_snr_t), log_snr_s)


def dpm_solver_step(x_t, x_0, previous_x0, log_snr_before, log_snr_t, log_snr_s):
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), lambda = log_snr / 2.

    Of first order, which is DDIM, where log_snr_before is log_snr_t: without a step before.
    """
    _, sigma_t = diffusion.alpha_sigma(log_snr_t)
    alpha_s, sigma_s = diffusion.alpha_sigma(log_snr_s)
    h = (log_snr_s - log_snr_t) / 2
    # the guards only keep the branch not taken finite (clipped schedule ends give h = 0)
    r = (log_snr_t - log_snr_before) / 2 / jnp.where(h == 0, 1.0, h)
    slope = (x_0 - previous_x0) / (2 * jnp.where(r == 0, 1.0, r))
    direction = x_0 + jnp.where(r == 0, 0.0, 1.0) * slope
    return sigma_s / sigma_t * x_t - alpha_s * jnp.expm1(-h) * direction
