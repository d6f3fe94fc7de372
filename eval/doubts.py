"""What keeps an answer from being a claim, and what to believe of it less, in sentences."""

from collections.abc import Collection, Mapping, Sequence

from eval import results
from eval.formats import change, percent, plural, some
from eval.results import BASELINE
from eval.verdict import sign

CLAIM_SEEDS = 5  # with fewer nothing is claimed
LEARNT = 0.5  # share of its own training images that a trained classifier is at least right on
ABOVE = 0.02  # so much more than always naming the largest class is more than chance in the log
AS_THEY_ARE = BASELINE, 'classical', 'logit_adjusted'  # arms in which classes have their shares
HARDLY = 3  # test images of a class, with fewer of which it is hardly tested


def of(result: Mapping, arms: Collection[str | None]) -> list[str]:
    """Why an answer about these arms is no claim yet, in a few words each; see `caution`."""
    return of_seeds(result['seeds']) + lasting(result, arms)


def of_seeds(seeds: int) -> list[str]:
    """The doubt of an answer that rests on so many, if they are few."""
    return [plural(seeds, 'seed')] if seeds < CLAIM_SEEDS else []


def lasting(result: Mapping, arms: Collection[str | None]) -> list[str]:
    """The doubts that more seeds do not lift: about those of `arms` that do not know their own
    training images, RandAugment in one without the arm that has nothing else, and where more than
    a quarter of the classes have no test image."""
    found = [f'{arm} has not learnt its images' for arm in _low(result) if arm in arms]
    if _alone(result, arms):
        found.append('{1}, the control of {0}, was not run'.format(*results.ON_TOP))
    untested, classes = len(_without_tests(result)), len(_classes(result))
    return found + [f'{untested} of {classes} classes untested'] * (untested > classes / 4)


def _alone(result: Mapping, arms: Collection[str | None]) -> bool:
    """Whether one of these has RandAugment besides, and the arm with it alone was not run."""
    arm, alone = results.ON_TOP
    return arm in arms and alone not in result['arms'] and alone in _controls(result)


def _without_tests(result: Mapping) -> list[str]:
    return [name for name, row in _classes(result).items() if not row['support']]


def caution(result: Mapping) -> str:
    """Why to believe the answer less: few seeds, arms that hardly learnt, a generator seen to copy,
    a judge that knows no class, arms that know no image of some class, classes without test images,
    a gain that is none once all arms are adjusted to equally frequent classes, or that nothing
    cheaper was compared with; at last what to do about it. '' if there is no reason.

    Args: result: of metrics.json `seeds`, `arms`, `differences`, `adjusted`, `synthetic` and
        `training`; see `results.training`.
    """
    made = result.get('synthetic') or {}
    return ' '.join(filter(None, (
        _seeds(result['seeds']), _not_learnt(result), _alarmed(made), _blind(made), _unseen(made),
        _untested(result), _hardly_tested(result), _of_boundaries(result), _no_control(result),
        _next(result))))


def _seeds(seeds: int) -> str:
    if seeds >= CLAIM_SEEDS:
        return ''
    said = f'{seeds} seeds say little of how trainings vary.'
    if seeds == 1:
        said = ('With one seed the intervals know how test images vary, but not how trainings do: '
                'another seed may say otherwise.')
    return said


def _low(result: Mapping) -> dict[str, list[float]]:
    """arm -> the shares of their training images that those of its seeds know that know little."""
    low = {arm: [one for one in scores['accuracy']['per_seed'] if one < _least(result, arm)]
           for arm, scores in result.get('training', {}).items()}
    return {arm: own for arm, own in low.items() if own}


def _largest(result: Mapping) -> float:
    """The share of the training images that the largest class has."""
    counts = [row['train_count'] for row in _classes(result).values()]
    return max(counts, default=0) / max(1, sum(counts))


def _least(result: Mapping, arm: str) -> float:
    """What a classifier that has learnt is right on: `LEARNT`, and more than its largest class."""
    largest = _largest(result) if arm in AS_THEY_ARE else 0
    return LEARNT if largest < LEARNT else largest + min(ABOVE, (1 - largest) / 2)


def _classes(result: Mapping) -> Mapping[str, Mapping]:
    """name -> what is the same for all arms of a class: its `support` and `train_count`."""
    return next((arm.get('per_class', {}) for arm in result['arms'].values()), {})


def _not_learnt(result: Mapping) -> str:
    found = {arm: dict.fromkeys((percent(min(own)), percent(max(own))))  # once, where they agree
             for arm, own in _low(result).items()}
    if not found:
        return ''
    listed = ', '.join(f'{arm} ({" to ".join(ends)}%)' for arm, ends in found.items())
    least, why = f'{100 * LEARNT:.0f}%', ''
    if any(_least(result, arm) > LEARNT for arm in found):
        least = 'half, or hardly more than the largest class is,'
        why = f'; the largest class is {percent(_largest(result))}% of the real ones'
    return (f'Not learnt: when training ended, classifiers were right on less than {least} of '
            f'their own training images, as they saw them, in {listed}{why}. '
            'Such an arm says more of its settings than of its images: give all arms '
            'more steps, another learning rate, or less dropout or augmentation.')


def _alarmed(synthetic: Mapping) -> str:
    alarms = synthetic.get('alarms')
    return f'Alarm while the generator trained: {alarms[-1]}.' if alarms else ''


def _blind(synthetic: Mapping) -> str:
    judge = synthetic.get('judge')
    if not judge or judge['accuracy'] > judge['largest_class']:
        return ''
    return ('The judge of the synthetic images is right no more often than one who always names '
            'the largest class: the quality check may know little of classes.')


def _unseen(synthetic: Mapping) -> str:
    return ' '.join(
        f'{arm} has seen no image of {some(names)}, of which none was drawn or none passed the '
        'check, and cannot name it, whatever the other images are worth; '
        "--config.synthesis.fill=largest draws none of the largest class, '2x' does."
        for arm, names in synthetic.get('unseen', {}).items() if names)


def _untested(result: Mapping) -> str:
    names = _without_tests(result)
    if not names:
        return ''
    verb = 'has' if len(names) == 1 else 'have'
    return (f'{len(names)} of {len(_classes(result))} classes {verb} no test image, and nothing '
            f'here is said of {some(names)}.')


def _hardly_tested(result: Mapping) -> str:
    """Of so few images of a class a resample cannot know what others would have given."""
    counts, of = tested(result)
    few, known = sum(0 < count < HARDLY for count in counts), sum(map(bool, counts))
    if few <= known / 10:
        return ''
    return (f'{few} of {known} classes ha{"s" if few == 1 else "ve"} one or two {of}: macro '
            'scores and their differences are known less well than their intervals say. Go by the '
            'accuracy, or find more test images.')


def tested(result: Mapping) -> tuple[list[int], str]:
    """Test images of each class or, where some belong together, groups of them; which it is."""
    counts = [row.get('clusters', row['support']) for row in _classes(result).values()]
    return counts, 'groups of test images' if result.get('test_clusters') else 'test images'


def _of_boundaries(result: Mapping) -> str:
    """Of gains of synthetic images that are rare classes being named more often, perhaps: of the
    macro recall, of which under half is left, and that within chance."""
    adjusted = (result.get('adjusted') or {}).get('differences', {})
    lost = []
    for pair, found in result['differences'].items():
        if pair.startswith(results.CLAIM) and pair in adjusted and _gains(found):
            before, after = found['macro_recall'], adjusted[pair]['macro_recall']
            if (sign(before['ci95']) > 0 >= sign(after['ci95'])
                    and after['mean'] < before['mean'] / 2):
                lost.append(f'{pair.replace("-", " over ")} ({change(after)})')
    if not lost:
        return ''
    return (f'Of {some(lost)} no gain beyond chance is left when both are adjusted to equally '
            'frequent classes (in brackets the macro recall then, in points): it may have been '
            'that one of them names rare classes more often, and no more.')


def _gains(difference: Mapping) -> bool:
    return any(sign(difference[score]['ci95']) > 0 for score in results.DECIDING)


def _no_control(result: Mapping) -> str:
    if not _uncontrolled(result):
        return ''
    return 'No control was run, and what is cheaper may give as much.'


def _uncontrolled(result: Mapping) -> bool:
    """Whether there is a gain, and no control that could have been run was."""
    pair = results.asked(result)
    if not pair or pair[1] != BASELINE or results.strongest_control(result['arms']):
        return False
    return _gains(result['differences']['-'.join(pair)]) and bool(_controls(result))


def _next(result: Mapping) -> str:
    """What to add to the command for an answer that can be believed more.

    Nothing where an arm has yet to learn its images: more of it would say as little.
    """
    if not (pair := results.asked(result)) or {*pair}.intersection(_low(result)):
        return ''
    add, arms = [], [*result['arms']]
    if result['seeds'] < CLAIM_SEEDS:
        add.append(f'--config.classifier.seeds={CLAIM_SEEDS}')
    if _uncontrolled(result):
        arms += _controls(result)
    elif _alone(result, pair):
        arms.append(results.ON_TOP[1])
    if len(arms) > len(result['arms']):
        add.append(f'--config.arms={",".join(arms)}')
    claim = f', as a claim needs {CLAIM_SEEDS} seeds' if result['seeds'] < CLAIM_SEEDS else ''
    return f'To go on, add {" ".join(add)} to the command{claim}.' if add else ''


def _controls(result: Mapping) -> Sequence[str]:
    """The controls that could be run: those that say something else than `original` does."""
    found = result.get('controls')
    return results.CONTROLS if found is None else found
