"""Every image is a test image once: five runs, each with another fifth of the images held out.

    python main.py --config=configs/augmented.py:auto --config.data.train=photos.zip \\
        --sweep=configs/sweeps/folds.py

For sets so small that the test images of one run tell little: the sweep's page compares the arms on
all images, each of them classified by networks that have not seen it, and so does its table by
class. It costs as much as five runs. The set must not bring test images of its own. For another
number of folds, or fewer seeds, copy this file.
"""

FOLDS = 5
APART = 100  # from a run's seeds of classifiers to the next one's: no two share one


def get_sweep():
    """The fields that each run sets."""
    return [
        {'splits.fold': f'{fold}/{FOLDS}', 'generator.seed': fold, 'synthesis.seed': fold,
         'classifier.seed': APART * fold}
        for fold in range(FOLDS)
    ]
