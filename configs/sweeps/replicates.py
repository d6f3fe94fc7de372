"""The whole experiment five times, with another split, generator, noise and other classifiers.

    python main.py --config=configs/augmented.py:digits --sweep=configs/sweeps/replicates.py

The intervals of one run know how its classifiers and its test images vary, and not what another
generator would have given. These runs differ in nothing but seeds, so the sweep's page ranks none
of them: it gives the mean of their differences, and how far that can be believed. They cost as much
as five runs.

Where a set brings its own test images (`data.test`, the glyphs) they stay the same, and the split
moves the validation images. With `data.imbalance` other images, and under `range:` other classes,
become rare. Seed 0, which settings may have been chosen on, is none of these.
"""

APART = 100  # from a run's seeds of classifiers to the next one's: no two share one


def get_sweep():
    """The fields that each run sets."""
    fields = 'splits.seed', 'generator.seed', 'synthesis.seed'
    return [
        dict.fromkeys(fields, seed) | {'classifier.seed': APART * seed} for seed in range(1, 6)
    ]
