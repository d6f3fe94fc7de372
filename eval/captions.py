"""How to read the tables and pictures of a report."""

from collections.abc import Mapping, Sequence

from eval import doubts, generative
from eval.formats import plural


def pictures(result: Mapping, shown: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Picture -> (what it shows and how to read it; what is in it, for who cannot see it)."""
    sample = f'{plural(result["test_images"], "test image")}, {plural(result["seeds"], "seed")}'
    arms, kinds = ' and '.join(shown), ' and synthetic' if result['synthetic'] else ''
    return {
        'class_counts': ('Training images of each class.', (
            f'Bars: training images of each class, real{kinds}, largest class first. The class '
            'table holds the numbers.')),
        'sheet': ((
            'Real training images (left) and accepted synthetic images (right) of the same class, '
            'the classes with the fewest training images first.'),
            'Sheet of images, one class a row: real on the left, synthetic on the right.'),
        'rejected': ((
            'Rejected synthetic images, one reason a row; below each the class that it was made '
            'for. They are spread evenly over all that the reason rejected.'), (
            'Sheet of rejected synthetic images, one row for each reason, with the number of '
            'images that it rejected.')),
        'per_class_f1': (f'F1 of each class, mean over seeds. {sample}.', (
            f'F1 of each class under {arms}, sorted by training images. The table below holds the '
            'numbers.')),
        'confusion': ((
            'Confusions, all seeds together, classes from the largest training class down. '
            f'{sample}.'),
            f'Confusion matrices of {arms}: share of each true class predicted as each class.'),
        'mistakes': ((
            'Test images: those that one arm alone is right about, where the probability of the '
            'class moved most, and the mistakes that an arm is surest of (often the label is '
            'wrong, or the picture shows several classes). Below each its class, and the one that '
            'it is taken for by the mean of an arm’s classifiers; beside each row how many there '
            'are. predictions.csv lists every test image. What you change after a look at these '
            'is no longer measured by them: for that, new test images are needed.'), (
            'Sheet of test images, in rows: right by one arm alone, and the surest mistakes.')),
        'reliability': ((
            'Above: how often predictions of a confidence are right, before they are calibrated; '
            'below the dotted line they are surer than they should be. Below: how many of the '
            'predictions have it. All seeds together; bins of under 10 predictions have no dot. '
            f'{sample}.'), (
            f'Reliability diagram of {arms}: share of right predictions by confidence, and the '
            'share of images in each bin of confidence.')),
        'copies': ((
            'The synthetic images most like a copy, each beside its nearest and its second nearest '
            'training image. Below: the ratio of the two distances (the lower, the more '
            'suspicious), in pixels or in features of the judge, whether the image was kept, and '
            'its class.'), (
            'Synthetic images, each beside its two nearest training images, with the ratio of the '
            'distances.')),
        'classifier_curves': ((
            'Loss of the classifiers, one line a seed: solid on validation images, dotted on '
            'training batches, whose images, augmentation or loss differ between arms. A loss also '
            'counts how sure a classifier is: arms are compared by the tables above.'),
            'Training and validation loss of the classifiers by optimizer step.'),
        'generator_curve': ((
            'Loss of the diffusion model on training batches and validation images. That of '
            'validation images may rise while the classes are still being learnt: the synthetic '
            'images are judged by what follows from them.'),
            'Loss of the diffusion model by optimizer step.')}


def tables(quality: Mapping, seeds: int) -> dict[str, str]:
    """How to read the tables: tests, training, calibration and, if there are any, synthetic images.
    """
    chance = 'test images and of classifiers’ seeds' if seeds > 1 else 'test images'
    p_of = ('; twice the median of the seeds’ p-values. It knows nothing of how seeds vary: where '
            'it disagrees with the interval of the accuracy, go by that') if seeds > 1 else ''
    mixed = quality.get('until', 1) <= 0.9
    then = ' (real ones alone, in arms that had mixed them with synthetic ones)' if mixed else ''
    notes = {'calibration': (
        'The mean gap between confidence, the top probability, and the share of right predictions, '
        'over 15 bins of equal width (Guo et al. 2017, eq. 3); 0 is best. Mean ± standard '
        'deviation over seeds; no difference is tested. It is no measure of accuracy. Temperature: '
        'what the logarithms of the probabilities are divided by to fit the validation images, '
        'above 1 if a classifier is surer than it is right (section 4.2 there); --mode=predict '
        'calibrates so. Tau: how much of the classes’ shares of the real training images a '
        'classifier has taken up, fitted with it: about 1 of images with these shares, 0 of '
        'equally many a class, between in arms that add images and end on real ones alone (see '
        'Post-hoc logit adjustment).'),
        'average_precision': (
            'All test images, sorted by the calibrated probability of a class: the precision at '
            'each image that is of the class, averaged; 100 where these come before all others. '
            'Accuracy and F1 also change where a classifier merely names some classes more often, '
            'as balance and a corrected loss have it do; this hardly changes by that, by under a '
            'point in our runs.'),
        'adjusted': (
            'The same classifiers, calibrated, then each probability divided by the class’s share '
            'of the real training images to the power of tau (see Calibration): what each would '
            'say if classes were equally frequent (Menon et al. 2021, section 4.1). All arms then '
            'name rare classes about equally readily, so that a difference which is left is hardly '
            'that one of them names them more often. Nothing is trained for it, or chosen on test '
            'images. Macro recall is the accuracy on equally many images of '
            'each class; on test images as uneven as those of training, accuracy may fall. '
            '--mode=predict with --adjust predicts so.'),
        'differences': (
            f'An interval without zero: the choice of {chance} would rarely explain the '
            'difference, about once in 20 such intervals. It says nothing of another split or '
            'generator '
            '(--sweep=configs/sweeps/replicates.py tries some).'),
        'mcnemar': (
            'McNemar p: an exact test of whether these very classifiers are right equally often'
            f'{p_of}.'),
        'training': (
            'On its training images: the accuracy in the last tenth of training, mean over seeds, '
            f'on the images seen then{then}, with dropout and augmentation on, so lower than it '
            'would be without, and the lower the more an arm has of them. An arm of which a seed '
            f'is under {100 * doubts.LEARNT:.0f}% was cut short, or its settings do not suit it.')}
    if found := quality.get('generative'):
        if found['synthetic_train']['kernel_distance'] is None:
            notes['no_figures'] = (
                f'No figures: only {found["images"]} synthetic images could be compared with as '
                f'many validation images of their classes, and {generative.MIN_IMAGES} are the '
                'least.')
        notes['generative'] = (
            f'Measured in the {found["features"]} features of the judge, a {found["network"]} '
            'classifier trained on this training split alone; not comparable with FID, which rests '
            'on Inception features, nor with another run. Good is what real validation images '
            'reach, the yardstick; the last column, against validation images, has none. '
            f'Compared are {found["images"]} synthetic and as many validation images, equally many '
            f'in each of {found["classes"]} classes, and all training images of these. The '
            'synthetic images were chosen by the judge in whose features they are measured, which '
            'flatters them, the more the fewer passed.')
    if quality.get('copies'):
        ratio = (quality.get('thresholds') or {}).get('copy_ratio')
        notes['copies'] = (
            'A copy: its nearest training image, in pixels that of the image or of its mirror '
            'image, is less than '
            f'{"a set share" if ratio is None else f"{ratio:.3g} times"} as far away as its second '
            'nearest. Accepted images have none by construction, as copies are dropped. For real '
            'validation images, which copy nothing, the share is that of false alarms.')
    return notes
