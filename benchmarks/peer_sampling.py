"""Sampling by diffusers' schedulers around a PyTorch twin of our U-Net."""

import diffusers
import torch

from benchmarks import peer_steps
from data.augment import CONDITION_SIZE

SETTINGS = {
    'num_train_timesteps': 1000, 'beta_schedule': 'squaredcos_cap_v2',
    'prediction_type': 'sample',
}


def prepare(network):
    """The network on PyTorch's device, ready to draw images."""
    peer_steps.set_up()
    dtype = torch.bfloat16 if peer_steps.LOW_PRECISION else torch.float32
    return network.eval().to(peer_steps.DEVICE, dtype, memory_format=torch.channels_last)


@torch.inference_mode()
def sample(network, labels, no_class, image_shape, *, sampler, steps, guidance_scale):
    """Images of `labels` int [B], uint8 [B, H, W, C] on the host.

    Args:
        network: (x_t, log_snr, label, augmentation) -> x_0.
        no_class: the label that means none.
        sampler: 'ddim' or 'dpm++'; steps: evaluations, each of 2 * B images with guidance.
        guidance_scale: 1 is off.
    """
    scheduler = make_scheduler(sampler, steps)
    log_snr = torch.logit(scheduler.alphas_cumprod, eps=1e-5).tolist()
    height, width, channels = image_shape
    x_t = torch.randn(len(labels), channels, height, width, device=peer_steps.DEVICE)
    x_t = x_t.contiguous(memory_format=torch.channels_last) * scheduler.init_noise_sigma
    label = torch.as_tensor(labels, device=peer_steps.DEVICE)
    guided = guidance_scale != 1
    if guided:
        label = torch.cat([label, torch.full_like(label, no_class)])
    condition = torch.zeros(len(label), CONDITION_SIZE, device=peer_steps.DEVICE)
    for t in scheduler.timesteps.tolist():  # once, or each step would wait for the device
        level = torch.full((len(label),), log_snr[t], device=peer_steps.DEVICE)
        with torch.autocast(peer_steps.DEVICE, torch.bfloat16, enabled=peer_steps.LOW_PRECISION):
            x_0 = network(torch.cat([x_t, x_t]) if guided else x_t, level, label, condition)
        if guided:
            conditional, unconditional = x_0.chunk(2)
            x_0 = unconditional + guidance_scale * (conditional - unconditional)
        x_t = scheduler.step(x_0, t, x_t).prev_sample
    images = ((x_t.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return images.permute(0, 2, 3, 1).cpu().numpy()


def make_scheduler(sampler, steps):
    """diffusers' counterpart of one of our samplers, on the cosine schedule, before its first step.

    'ddim' is spaced evenly in time, which costs what Karras' levels cost.
    """
    if sampler == 'ddim':
        scheduler = diffusers.DDIMScheduler(**SETTINGS, timestep_spacing='trailing')
        scheduler.set_timesteps(steps, device=peer_steps.DEVICE)
        return scheduler
    scheduler = diffusers.DPMSolverMultistepScheduler(**SETTINGS, use_karras_sigmas=True)
    scheduler.set_timesteps(steps, device=peer_steps.DEVICE)
    scheduler.set_begin_index(0)  # it looks the step up by time, which Karras' levels can repeat
    return scheduler
