"""The training steps of the project as a PyTorch user would write them.

The work is that of train/generator.py, train/classifier.py and train/state.py: draw noise and
labels to hide, augment, forward, loss, backward, clip, Adam with its schedule, moving average.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from loky import cpu_count
from torch import nn

from benchmarks import common
from data.augment import CONDITION_SIZE
from generation.diffusion import LOG_SNR_MAX, LOG_SNR_MIN

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
LOW_PRECISION = DEVICE == 'cuda'  # bfloat16 where ours is


def set_up():
    """The fastest convolution that the library finds, the same draws in every run."""
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)


def fastest_threads(run):
    """(threads, run with them): one thread a core or one in all, whichever runs faster here.

    PyTorch's threads wait for each other after every operation. On cores that other processes use,
    too, one thread has been several times as fast as two. Of a GPU's host threads: as many as are.
    """
    if DEVICE == 'cuda':
        return torch.get_num_threads(), run

    def with_threads(threads):
        def limited(*arguments):
            torch.set_num_threads(threads)
            return run(*arguments)

        return limited

    cases = {threads: with_threads(threads) for threads in {cpu_count(), 1}}
    times = common.interleaved(cases, rounds=3, repeats=1)
    best = min(times, key=lambda threads: times[threads]['median'])
    return best, cases[best]


def wait():
    """Returns when the device has done its work."""
    if DEVICE == 'cuda':
        torch.cuda.synchronize()


def to_device(batch):
    """A host batch as tensors: 'image' float [B, C, H, W] in [-1, 1], channels last in memory."""
    batch = {name: torch.from_numpy(x).to(DEVICE, non_blocking=True) for name, x in batch.items()}
    images = batch['image'].permute(0, 3, 1, 2).float() / 127.5 - 1
    return batch | {'image': images, 'label': batch['label'].long()}


def generator_loss(network, config, num_classes):
    """(image, label, weight) -> loss; `train.generator.make_loss` with the prediction 'x0'.

    Args:
        network: (x_t, log_snr, label, augmentation) -> x_0.
        config: `config.generator`; its schedule is 'cosine'.
    """

    def loss_fn(x_0, label, weight):
        x_0, condition = flip_shift(
            x_0, config.augment_flip, config.augment_shift, config.augment_probability
        )
        t, u = torch.rand(2, len(x_0), device=x_0.device)
        label = torch.where(u < config.label_dropout, num_classes, label)
        log_snr = (-2 * torch.log(torch.tan(math.pi * t.clamp(1e-6, 1 - 1e-6) / 2))).clamp(
            LOG_SNR_MIN, LOG_SNR_MAX
        )
        level = log_snr[:, None, None, None]
        alpha, sigma = level.sigmoid().sqrt(), (-level).sigmoid().sqrt()
        eps = torch.randn_like(x_0)
        output = network(alpha * x_0 + sigma * eps, log_snr, label, condition)
        loss = (output - x_0).square().mean(dim=(1, 2, 3))
        return (loss * weight * log_snr.exp().clamp(max=config.min_snr_gamma)).mean()

    return loss_fn


def classifier_loss(network, config):
    """(image, label, weight) -> loss; `train.classifier.make_loss` without logit adjustment."""

    def loss_fn(images, label, weight):
        if config.augment != 'none':
            images, _ = flip_shift(images, config.augment_flip, config.augment_shift, 1.0)
        logits, _ = network(images)
        return (F.cross_entropy(logits, label, reduction='none') * weight).mean()

    return loss_fn


def flip_shift(images, flip, shift, probability):
    """`data.augment.flip_shift` without rotation and scale: (images, condition [B, A])."""
    batch, _, side, _ = images.shape
    most = int(round(shift * side))
    condition = torch.zeros(batch, CONDITION_SIZE, device=images.device)
    if not flip and not most:
        return images, condition
    u = torch.rand(4, batch, device=images.device)
    flipped = (u[0] < 0.5 * probability) & flip
    images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
    offset = (u[2:] * (2 * most + 1)).floor().long() - most
    offset = torch.where(u[1] < probability, offset, 0)
    condition[:, 0], condition[:, 1:3] = flipped.float(), offset.T / max(most, 1)
    place = torch.arange(side, device=images.device)
    rows, columns = (place - offset[..., None]).clamp(0, side - 1)  # edges are repeated
    picked = images.permute(0, 2, 3, 1)[
        torch.arange(batch, device=images.device)[:, None, None], rows[:, :, None], columns[:, None]
    ]
    return picked.permute(0, 3, 1, 2), condition


def make_step(network, loss_fn, config, *, b2=0.999, clip=0.0, ema_decay=0.0):
    """(host batch) -> loss tensor; changes `network` and its moving average in place.

    Args:
        config: `config.generator` or `config.classifier`: learning rate, its warm-up and decay.
    """
    parameters = list(network.parameters())
    average = [p.detach().clone() for p in parameters] if ema_decay else None
    adam = torch.optim.Adam(parameters, lr=config.learning_rate, betas=(0.9, b2), fused=True)
    done = 0

    def step(batch):
        nonlocal done
        batch = to_device(batch)
        adam.param_groups[0]['lr'] = learning_rate(config, done)
        adam.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=LOW_PRECISION):
            loss = loss_fn(batch['image'], batch['label'], batch['weight'])
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(parameters, clip, foreach=True)
        adam.step()
        if average:
            decay = min(ema_decay, (1 + done) / (10 + done))
            with torch.no_grad():
                torch._foreach_lerp_(average, parameters, 1 - decay)
        done += 1
        return loss.detach()

    return step


def learning_rate(config, step):
    """`train.state.make_optimizer`'s schedule at a step."""
    if step < config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    if not config.cosine_decay:
        return config.learning_rate
    part = (step - config.warmup_steps) / (config.steps - config.warmup_steps)
    return config.learning_rate * (1 + np.cos(np.pi * part)) / 2
