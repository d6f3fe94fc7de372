"""The forward process of a variance-preserving diffusion, by its log signal-to-noise ratio.

x_t = alpha x_0 + sigma eps, alpha^2 + sigma^2 = 1, log_snr = log(alpha^2 / sigma^2), t in [0, 1].
Arguments called log_snr broadcast against images: [B] is given as [B, 1, 1, 1] by `expand`.
"""

import jax
import jax.numpy as jnp

LOG_SNR_MAX, LOG_SNR_MIN = 12.0, -12.0  # keeps alpha and sigma away from 0 in float32
SCHEDULES = ('cosine', 'linear')
PREDICTIONS = ('eps', 'x0', 'v')


def log_snr(t, schedule):
    """The log signal-to-noise ratio at time t in [0, 1], clipped to [LOG_SNR_MIN, LOG_SNR_MAX].

    'cosine': alpha = cos(pi t / 2) (Nichol & Dhariwal 2021, eq. 17, without offset).
    'linear': alpha_bar = exp(-(0.1 t + 19.9 t^2 / 2)), the continuous limit of the 1000 linear
    betas of Ho et al. 2020 (Song et al. 2021, arXiv 2011.13456, eq. 33).

    Raises:
        ValueError: `schedule` is none of SCHEDULES.
    """
    if schedule == 'cosine':
        value = -2 * jnp.log(jnp.tan(jnp.clip(jnp.pi * t / 2, 1e-6, jnp.pi / 2 - 1e-6)))
    elif schedule == 'linear':
        # log(a / (1 - a)) with a = exp(-b), written so that it is exact for small b
        b = 0.1 * t + 9.95 * t**2
        value = -jnp.log(jnp.expm1(jnp.maximum(b, 1e-12)))
    else:
        raise ValueError(f'unknown schedule {schedule!r}; known: {", ".join(SCHEDULES)}')
    return jnp.clip(value, LOG_SNR_MIN, LOG_SNR_MAX)


def alpha_sigma(log_snr):
    """(alpha, sigma) of the variance-preserving process at this log_snr."""
    return jnp.sqrt(jax.nn.sigmoid(log_snr)), jnp.sqrt(jax.nn.sigmoid(-log_snr))


def expand(log_snr):
    """[B] -> [B, 1, 1, 1], to broadcast against images."""
    return log_snr[:, None, None, None]


def q_sample(x_0, eps, log_snr):
    """Draws x_t given x_0 and unit noise eps (Ho et al. 2020, eq. 4)."""
    alpha, sigma = alpha_sigma(log_snr)
    return alpha * x_0 + sigma * eps


def target(x_0, eps, log_snr, prediction):
    """What the network is asked for: eps, x_0, or v = alpha eps - sigma x_0 (Salimans, Ho 2022)."""
    alpha, sigma = alpha_sigma(log_snr)
    return {'eps': eps, 'x0': x_0, 'v': alpha * eps - sigma * x_0}[prediction]


def to_x0(output, x_t, log_snr, prediction):
    """The x_0 that a network output of kind `prediction` stands for: the inverse of `target`.

    Raises:
        KeyError: the kind is none of PREDICTIONS.
    """
    alpha, sigma = alpha_sigma(log_snr)
    return {
        'x0': output, 'eps': (x_t - sigma * output) / alpha, 'v': alpha * x_t - sigma * output,
    }[prediction]


def to_eps(x_0, x_t, log_snr):
    """The noise that leads from x_0 to x_t."""
    alpha, sigma = alpha_sigma(log_snr)
    return (x_t - alpha * x_0) / sigma


def loss_weight(log_snr, prediction, min_snr_gamma):
    """Weight of the squared error of the network's output: min-SNR-gamma (Hang et al. 2023, eq. 7).

    In terms of x_0 the weight is min(SNR, gamma); `min_snr_gamma` = 0 gives the plain squared
    error of the output (weight 1).
    """
    if not min_snr_gamma:
        return jnp.ones_like(log_snr)
    snr = jnp.exp(log_snr)
    error_in_x0: dict[str, jax.Array | float] = {'x0': 1.0, 'eps': snr, 'v': snr + 1}
    return jnp.minimum(snr, min_snr_gamma) / error_in_x0[prediction]


def class_balancing(output, other, t, tau, commitment):
    """What Class-Balancing Diffusion adds to the squared error (Qin et al. 2023, algorithm 1), [B].

    tau T t (|output - sg(other)|^2 + commitment |sg(output) - other|^2), sg stopping the gradient:
    an image of y should be denoised alike under a class drawn uniformly, so that rare classes
    share what frequent ones teach. The paper counts t in 1..T, T = 1000, hence T t here.

    It stands inside `loss_weight`, as the error it is added to does: for eps with weight 1 this is
    the paper's loss. At equal x_t the outputs' differences relate as the errors do (eps = alpha /
    sigma of x_0, alpha of v), so the ratio of the two terms is the paper's whatever the
    network predicts, and with min-SNR-gamma the loss itself does not depend on what it predicts.

    Args:
        output, other: network outputs [B, H, W, C] of x_t for its class y, and for y' uniform.
        t: time in [0, 1], [B].
        tau: 0.001 in the paper; commitment: its gamma, 1/4.
    """
    stop = jax.lax.stop_gradient
    pull = jnp.square(output - stop(other)).mean(axis=(1, 2, 3))
    commit = jnp.square(stop(output) - other).mean(axis=(1, 2, 3))
    return 1000 * tau * t * (pull + commitment * commit)
