"""A random search over how the classifier is trained: 16 runs; no generator differs.

    python main.py --config=configs/augmented.py --sweep=configs/sweeps/classifier.py
"""

from configs.sweeps import sample


def get_sweep():
    """The fields that each run sets."""
    return sample(
        {
            'classifier.learning_rate': (3e-4, 3e-3),
            'classifier.dropout': [0.3, 0.5, 0.7],
            'classifier.synthetic_weight': [0.3, 1.0],
            'classifier.synthetic_until': [0.5, 2 / 3, 1.0],
        },
        count=16,
    )
