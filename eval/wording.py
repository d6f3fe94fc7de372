"""What a run's numbers say, in sentences."""

from collections.abc import Mapping, Sequence

from eval import doubts, results, statistics
from eval.formats import interval, percent, points, some
from eval.results import CLAIM
from eval.verdict import sign

SEES = {  # the images of each arm's classifiers
    'original': 'the real images', 'augmented': 'real and synthetic images',
    'oversampled': 'the real images, those of rare classes repeated',
    'classical': 'real images under RandAugment and cutout',
    'augmented_classical': 'real and synthetic images under RandAugment and cutout',
    'logit_adjusted': 'the real images, rare classes made up for in the loss',
    'synthetic_only': 'synthetic images alone'}


def answer(result: Mapping) -> str:
    """Is the claim better than the baseline and, where there is one, than the best control? Do
    synthetic images help RandAugment, too?

    Begins with the `doubts.of` it that forbid a claim.
    """
    about = *results.shown(result), _control(result)
    found = doubts.of(result, about) if result['differences'] else []
    if (pair := results.asked(result)) and pair[0] in results.CONTROLS:
        said = claimed(result['differences']['-'.join(pair)]['verdict'], found)
        return f'No arm that sees synthetic images was trained, so nothing is said of them. {said}'
    return f'{claimed(_answer(result), found)} {_on_top(result)}'.rstrip()


def _on_top(result: Mapping) -> str:
    """What separates `results.ON_TOP`, where this was not `asked` first; few seeds are said before.
    """
    found = result['differences'].get('-'.join(results.ON_TOP))
    if not found or results.asked(result) == [*results.ON_TOP]:
        return ''
    said = claimed(found['verdict'], doubts.lasting(result, results.ON_TOP))
    return f'With RandAugment in both: {said[:1].lower()}{said[1:]}'


def claimed(said: str, found: Sequence[str]) -> str:
    """A verdict, with the `doubts` that were found about its arms."""
    if not found:
        return said
    return f'Not yet a claim ({"; ".join(found)}). As it stands: {said[:1].lower()}{said[1:]}'


def _better(result: Mapping, arm: str) -> bool:
    """Whether the claim is better than this control, in accuracy and macro-F1; if it was run."""
    found = result['differences'].get(f'{CLAIM}-{arm}')
    return found is None or all(sign(found[score]['ci95']) > 0 for score in results.DECIDING)


def _control(result: Mapping) -> str | None:
    """The strongest control that the claim was compared with."""
    control = results.strongest_control(result['arms'])
    return control if f'{CLAIM}-{control}' in result['differences'] else None


def _answer(result: Mapping) -> str:
    if pair := results.asked(result):
        verdict, control = result['differences']['-'.join(pair)]['verdict'], _control(result)
        if not control:
            return verdict
        against = result['differences'][f'{CLAIM}-{control}']
        macro_f1 = percent(result['arms'][control]['macro_f1']['mean'])
        said = (f'{verdict} The strongest control is {control}, with a macro-F1 of {macro_f1}%. '
                f'{against["verdict"]}')
        others = [arm for arm in results.CONTROLS if arm != control and not _better(result, arm)]
        if others:
            said += (f' In accuracy and macro-F1 both {CLAIM} is not shown to be better than '
                     f'{" or ".join(others)}.')
        return said
    arm = results.shown(result)[0]
    accuracy = result['arms'][arm]['accuracy']
    return (f'Only {arm} was trained, so nothing is compared: accuracy '
            f'{percent(accuracy["mean"])}% (95% interval {interval(accuracy["ci95"], "{:.1f}")}) '
            f'on {result["test_images"]:,} test images.')


def judge(synthetic: Mapping) -> str:
    """Sentences on what the check by class rests on; '' without a check, or of an earlier version.

    Args: synthetic: of metrics.json.
    """
    if not (found := synthetic.get('judge')):
        return ''
    said = (f'The judge of the check, a classifier of the training split alone, is right on '
            f'{percent(found["accuracy"])}% of {found["validation_images"]:,} validation images; '
            f'always to name the largest class would be on {percent(found["largest_class"])}%.')
    if names := synthetic.get('unasked'):
        said += (f' It was not asked about {some(names)}, of which it knows too few images, so '
                 'theirs had to pass the other rules only.')
    return said


def images(result: Mapping) -> str:
    """Sentences on what was found among the real images; '' if nobody looked."""
    left_out, ignored = result.get('unusable'), result.get('ignored')
    found = (
        repeats(result['duplicates']), _together(result),
        f'Unusable image files that were left out: {left_out:,}.' if left_out else '',
        f'Files that were passed over, as they are no images right in a class folder: {ignored:,} '
        '(data/ignored.json).' if ignored else '')
    return ' '.join(filter(None, found))


def repeats(found: Mapping | None) -> str:
    """A sentence on copies among the real images; '' if nobody looked.

    Args: found: {'groups': of copies, 'across_splits': those that lay in several splits, 'parted':
        images that were moved or dropped for it, 'near': whether near copies were looked for,
        'contradictions': groups whose images are of several classes}.
    """
    if not found:
        return ''
    kind = 'equal, or encoded, sized or mirrored anew' if found['near'] else 'of equal pixels'
    if not found['groups']:
        return f'No copies ({kind}) were found among the real images.'
    across = 'none lay across splits.'
    if found['across_splits']:
        across = (f'{found["across_splits"]:,} lay across splits, for which {found["parted"]:,} '
                  'were moved to train or left out.')
    if wrong := found.get('contradictions'):
        across += f' In {wrong:,} of the groups the labels disagree (data/duplicates.json).'
    return f'Groups of copies ({kind}) among the real images: {found["groups"]:,}; {across}'


def _together(result: Mapping) -> str:
    """Sentences on test images that belong together; '' where each is on its own."""
    count, said = result.get('test_clusters'), ''
    if not count:
        return ''
    if (alone := result.get('ungrouped')) is not None:  # it was asked for
        but = f', but for {alone:,} of which it says nothing' if alone else ''
        by = result.get('grouped_by') or 'config.splits.group_by'
        said = f'Images that belong together (by {by}{but}) lie in one split. '
    return (f'{said}With copies, and what else belongs together, taken as one the '
            f'{result["test_images"]:,} test images are {count:,}, which is what the intervals go '
            'by; the exact tests take images for independent, and their p may be too small.')


def evidence(result: Mapping) -> str:
    """A sentence: what changed beyond chance, how many are copies, the cost; '' if none is known.

    Classes and groups of classes count if their p-value, adjusted by Holm among their like, is
    under 0.05; of a class it is of the recall, which also rises where a class is merely named more
    often, so it has only gained if all of its F1's interval has.
    """
    clauses = []
    if pair := results.asked(result):
        early = result['differences']['-'.join(pair)].get('doubts')
        clauses.append('as it stands, ' * bool(early) + _beyond_chance(result, *pair))
    made = result['synthetic'] or {}
    clauses += _quality(made)
    copies = made.get('copies') or {}
    drawn, real = ((copies.get(images) or {}).get('either')
                   for images in ('made', 'real_held_out'))
    if None not in (drawn, real):
        of_real = f'{percent(real)}% of real held-out images do, all false alarms'
        clauses.append(f'{percent(drawn)}% of the synthetic images drawn count as copies of '
                       f'training images (dropped), {of_real if real else "no real held-out one"}')
    seconds = list((result['seconds'] or {}).values())
    if seconds and None not in seconds:
        where = f' on {result["hardware"]}' if result['hardware'] else ''
        clauses.append(f'all of it took {sum(seconds) / 60:.1f} minutes{where}')
    text = '; '.join(clauses)
    return f'{text[0].upper()}{text[1:]}.' if text else ''


def _quality(made: Mapping) -> list[str]:
    """A clause if most synthetic images were rejected: a warning of what the rest are worth."""
    drawn = made.get('made', 0)
    passed = made.get('accepted', 0) + (made.get('rejected') or {}).get('surplus', 0)
    if not drawn or passed >= drawn / 2:
        return []
    short = len(made.get('unfilled') or ())
    lack = f', and {short} classes lack some' if short else ''
    return [f'only {percent(passed / drawn)}% of the synthetic images passed the quality '
            f'check{lack}']


def bounds(limits: Mapping) -> dict[str, str]:
    """How many training images a class of each group has; limits: {'many': above, 'few': up to}."""
    many, few = limits['many'], limits['few']
    return {'many': f'over {many}', 'medium': f'{few + 1} to {many}', 'few': f'at most {few}'}


def group_p(groups: Mapping[str, Mapping]) -> dict[str, float]:
    """Group -> the p-value of its difference in accuracy, adjusted by Holm over the groups."""
    p = statistics.holm([group['accuracy']['p'] for group in groups.values()])
    return dict(zip(groups, p.tolist(), strict=True))


def _beyond_chance(result: Mapping, arm: str, other: str) -> str:
    """The groups whose accuracy and classes whose recall `arm` changed, the largest each way."""
    difference, images = result['differences'][f'{arm}-{other}'], bounds(result['groups'])
    groups, classes = difference['groups'], difference['per_class']
    adjusted = group_p(groups)
    found = [(1 if group['accuracy']['mean'] > 0 else -1, group['accuracy']['mean'],
              f'the classes with {images[name]} training images '
              f'(accuracy {points(group["accuracy"]["mean"])} points)')
             for name, group in groups.items() if adjusted[name] < 0.05]
    found += [(_way(row), row['recall']['mean'],
               f'class {name} (recall {points(row["recall"]["mean"])}, '
               f'F1 {points(row["f1"]["mean"])})')
              for name, row in classes.items() if row['holm_p'] < 0.05]
    clauses = []
    for verb, way in (('gained', 1), ('lost', -1), ('changed only the recall', 0)):
        own = sorted((row for row in found if row[0] == way), key=lambda row: -abs(row[1]))
        if own:
            clauses.append(f'{verb} beyond chance on {some([text for *_, text in own])}')
    said = f'{arm} {" and ".join(clauses)}' if clauses else (
        'on no class and no group of classes is there a change beyond chance, corrected for the '
        'number of classes and of groups')
    counts, of = doubts.tested(result)
    least = statistics.least_images(sum(map(bool, counts)), result['seeds'])
    found = [row['holm_p'] < 0.05 for row in classes.values()]
    if few := sum(0 < count < least and not seen for count, seen in zip(counts, found)):
        said += (f' ({few} of {len(counts)} classes have under {least} {of}, too few for a change '
                 'in one of them to show by itself)')
    gains = [row['f1']['mean'] for count, row in zip(counts, classes.values()) if count]
    if gains:
        up, down = (sum(round(way * x, 9) > 0 for x in gains) for way in (1, -1))
        said += (f'; under {arm} F1 is higher in {up} and lower in {down} of {len(gains)} classes, '
                 'by however little')
    return said


def _way(row: Mapping) -> int:
    """1 or -1 if a class has gained or lost, by its recall and all of its F1's interval, else 0."""
    way = sign(row['f1']['ci95'])
    return way if way * row['recall']['mean'] > 0 else 0
