"""The whole experiment five times: other images held out, another generator, other noise.

    python main.py --config=configs/augmented.py:digits --sweep=configs/sweeps/replicates.py

The intervals of one run know how its classifiers and its test images vary, and not what another
generator would have given. These runs differ in nothing but seeds, so the sweep's page ranks none
of them: it gives the mean of their differences, and how far that can be believed.
"""


def get_sweep():
    """The fields that each run sets; the first run is the config as it is."""
    fields = 'splits.seed', 'generator.seed', 'synthesis.seed'
    return [dict.fromkeys(fields, seed) for seed in range(5)]
