"""What is each choice behind the generator worth? The config as it is, and one change at a time.

    python main.py --config=configs/augmented.py --sweep=configs/sweeps/ablation.py \\
        --config.arms=original,synthetic_only

With these arms the leaderboard goes by what a classifier that saw synthetic images alone makes of
the validation images (classification accuracy score, Ravuri & Vinyals 2019). The judge and the
baseline are trained once, and no generator for what synthesis alone changes.
"""

from configs.sweeps import grid, one_at_a_time


def get_sweep():
    """The fields that each run sets."""
    changes = one_at_a_time({
        'synthesis.guidance_scale': [1.2, 1.5, 2.0],
        'synthesis.sampler': ['ddim'],
        'generator.class_map': [False],
        'generator.class_balanced': [True],
        'generator.cbdm_weight': [0.001],
        'generator.augment_shift': [0.1],
        'generator.augment_rotate': [8.0],
        'generator.augment_scale': [0.1],
        'generator.dropout': [0.1],
        'generator.prediction': ['eps', 'v'],
        'generator.min_snr_gamma': [0.0],
        'generator.schedule': ['linear'],
        'generator.label_dropout': [0.2],
        'generator.ema_decay': [0.99, 0.9999],
        'generator.channels': [24, 48],
        'generator.steps': [3000, 12_000],
    })
    within = [(0.0, 0.6), (0.2, 0.8)]  # beside 1.5 at all times
    return changes + grid({
        'synthesis.guidance_scale': [1.5], 'synthesis.guidance_interval': within,
    })
