"""Is the baseline tuned as well as the rest? A random search over how classifiers are trained.

16 runs, all with the same synthetic images. The sweep's page compares the arms, each at its own
lowest validation loss. With `--config.arms=original` it shows in a fraction of the time how good a
baseline can get.

    python main.py --config=configs/augmented.py --sweep=configs/sweeps/classifier.py
"""

from configs.sweeps import sample


def get_sweep():
    """The fields that each run sets."""
    return sample(
        {
            'classifier.learning_rate': (3e-4, 5e-3),
            'classifier.dropout': [0.3, 0.5, 0.7],
            'classifier.synthetic_weight': [0.3, 1.0],
            'classifier.synthetic_until': [0.5, 2 / 3, 1.0],
        },
        count=16,
    )
