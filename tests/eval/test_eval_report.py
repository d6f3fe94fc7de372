import csv
import io
import json
import pathlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import average_precision_score

from data import image_sets
from eval import (
    calibration,
    captions,
    console,
    doubts,
    formats,
    generative,
    metrics,
    report,
    results,
    sheets,
    statistics,
    verdict,
    wording,
)
from generation import quality
from train.arms import ARMS

NAMES = ['<b>&"x', 'pipe|`*', 'common', 'absent']
COUNTS = np.array([3, 20, 50, 30])
FACTS = {'seeds': [0, 1], 'steps': 30,
         'duplicates': {'groups': 7, 'across_splits': 2, 'parted': 3, 'near': True},
         'seconds': {'data': 0.5, 'classifiers': float('nan')},
         'hardware': '1 CPU', 'versions': {'jax': '0.8'}, 'commit': 'abc', 'date': '2026-01-01',
         'command': 'python main.py --note="<i>"', 'config': {'optimizer': {'name': '</pre><i>'}}}
QUALITY = {'made': 100, 'accepted': 70, 'rejected': {'copy': 10, 'far': 0, 'off_class': 20},
           'copy_rate': 0.1, 'real_heldout_copy_rate': 0.02, 'unfilled': {NAMES[0]: 3},
           'copies': {'made': {'pixels': 0.071, 'features': 0.06, 'either': 0.1},
                      'accepted': dict.fromkeys(('pixels', 'features', 'either'), 0.0),
                      'real_held_out': dict.fromkeys(('pixels', 'features', 'either'))},
           'generative': {'network': 'cnn', 'features': 256, 'images': 61, 'classes': 3,
                          'synthetic_train': dict.fromkeys(generative.MEASURES, 0.123456),
                          'validation_train': dict.fromkeys(generative.MEASURES, -0.00098765),
                          'synthetic_validation': dict.fromkeys(generative.MEASURES)},
           'share': 0.3, 'weight': 0.5, 'until': 0.75,
           'guidance_interval': [0.0, 1.0], 'sampler': 'ddim', 'guidance_scale': 1.5,
           'thresholds': {'copy_ratio': 1 / 3}}
LABELS = np.repeat([0, 1, 2], 30).astype(np.int32)
TEST = image_sets.ImageSet(
    np.zeros((90, 8, 8, 3), np.uint8), LABELS, tuple(f'{i}.png' for i in range(90)))
GROUPS = {'many': 40, 'few': 25}
VOID = {'meta', 'img', 'br'}


class Page(HTMLParser):
    """Fails on tags that do not nest; collects the text and the pictures."""

    def __init__(self, html):
        super().__init__()
        self.open, self.text, self.images, self.tags = [], '', [], set()
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.images += [dict(attrs)] if tag == 'img' else []
        self.open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def classify(labels, accuracy, seed):
    """Probabilities of a classifier that is right this often, and guesses otherwise."""
    rng = np.random.default_rng(seed)
    guesses = rng.integers(4, size=len(labels))
    predictions = np.where(rng.random(len(labels)) < accuracy, labels, guesses)
    return 0.1 + 0.6 * np.eye(4, dtype=np.float32)[predictions]


def arguments(folder, **arms):
    """Arguments of `write` for arms with these accuracies, two seeds each; none tests class 3."""
    predictions = {}
    for i, (arm, accuracy) in enumerate(arms.items()):
        predictions[arm] = [folder / f'{arm}_{s}.npz' for s in range(2)]
        for s, path in enumerate(predictions[arm]):
            np.savez(path, probabilities=classify(LABELS, accuracy, [s, i]), labels=LABELS)
    return dict(dataset='toy & co', class_names=NAMES, train_counts=COUNTS, synthetic_counts=None,
                test=TEST, groups=GROUPS, quality=None, curves={}, sheet=None, facts=FACTS,
                predictions=predictions, training=knowing(**dict.fromkeys(arms, [1.0, 1.0])))


def knowing(**accuracies):
    """What `results.training` finds of arms with these accuracies, one a seed."""
    return {arm: {'accuracy': {'mean': float(np.mean(seeds)), 'per_seed': seeds}}
            for arm, seeds in accuracies.items()}


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """A report with everything in it: (its folder, the metrics)."""
    folder = tmp_path_factory.mktemp('full')
    images = np.zeros((4, 8, 8, 3), np.uint8)
    sheet, curve = folder / 'ready.png', folder / 'metrics.jsonl'
    sheet.write_bytes(sheets.sheet(images, np.arange(4), images, np.arange(4), NAMES, k=1))
    curve.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "val_loss": NaN, "val_accuracy": 0}\n')
    log = results.read_log(curve)
    given = arguments(folder, original=0.3, augmented=0.9, oversampled=0.3) | dict(
        synthetic_counts=50 - COUNTS, quality=QUALITY, sheet=sheet, copies=sheet,
        rejected=sheet.read_bytes(), training=knowing(
            original=[0.9, 0.95], augmented=[0.02, 0.98], oversampled=[0.1, 0.1]),
        curves={'generator': [log], 'original': [log, log]})
    return folder / 'report', report.write(folder / 'report', **given)


def test_page_is_whole_and_escaped(finished):
    page = Page((finished[0] / 'index.html').read_text('utf-8'))
    assert 'As it stands: yes, augmented is better than original' in page.text
    for text in (*NAMES, 'ddim', '30.0%', 'Rejected: off class', '20.0%', '</pre><i>',
                 '--note="<i>"'):
        assert text in page.text  # as text: escaped once, and parsed back
    assert not {'b', 'i', 'script'} & page.tags
    assert len(page.images) == 10 and all(image['alt'] for image in page.images)
    assert all(image['src'].startswith('data:image/png;base64,') for image in page.images)


def test_markdown_and_figures(finished):
    folder, _ = finished
    stems = {path.stem for path in folder.glob('*.png')}
    assert stems == {'class_counts', 'sheet', 'copies', 'per_class_f1', 'confusion',
                     'generator_curve', 'classifier_curves', 'reliability', 'rejected',
                     'mistakes'}
    markdown = (folder / 'report.md').read_text('utf-8')
    assert set(re.findall(r'\]\((\w+)\.png\)', markdown)) == stems
    assert '<b>' not in markdown and 'pipe\\|' in markdown
    assert '| Rejected: off class | 20 | 20.0 | the judge does not see its class |' in markdown
    for table in re.findall(r'(?:^\|.*\n)+', markdown, re.MULTILINE):
        rows = table.replace('\\|', '').splitlines()
        assert len(rows) > 2 and len({row.count('|') for row in rows}) == 1, table
        assert set(rows[1]) <= set('|-:') and all(row.endswith('|') for row in rows)


def test_copies_and_measures_stand_in_both_reports_with_how_to_read_them(finished):
    markdown = (finished[0] / 'report.md').read_text('utf-8')
    page = Page((finished[0] / 'index.html').read_text('utf-8')).text
    for line in ('| by pixels | 7.1 | 0.0 | – |', '| by either | 10.0 | 0.0 | – |',
                 f'| {generative.MEASURES["recall"]} | 0.123 | -0.000988 | – |'):
        assert line in markdown
    for text in (markdown, page):
        assert 'less than 0.333 times as far' in text and 'none by construction' in text
        assert 'the 256 features of the judge, a cnn classifier trained on this' in text
        assert 'not comparable with FID' in text and '61 synthetic' in text


def test_metrics_json_follows_the_schema(finished):
    folder, result = finished

    def refuse(constant):
        raise AssertionError(f'{constant} is no JSON')
    assert json.loads((folder / 'metrics.json').read_text(), parse_constant=refuse) == result
    assert (result['schema'], result['classes'], result['train_images']) == (1, 4, 103)
    assert (result['test_images'], result['seeds'], result['steps']) == (90, 2, 30)
    assert list(result['differences']) == ['augmented-original', 'oversampled-original',
                                           'augmented-oversampled']
    assert result['synthetic']['rejected'] == {'copy': 10, 'far': 0, 'off_class': 20}
    assert 0 <= result['seconds'].pop('report') < 60
    assert result['seconds'] == {'data': 0.5, 'classifiers': None}


def test_the_dose_is_stated_in_both_reports(finished):
    markdown = (finished[0] / 'report.md').read_text('utf-8')
    page = Page((finished[0] / 'index.html').read_text('utf-8')).text
    for text in (markdown, page):
        assert '30.0% in the first 75.0% of the steps, none after them' in text
        assert 'Loss weight of a synthetic image (of a real one: 1)' in text and '0.5' in text
        assert 'Rejected: copy' in text and 'Rejected: far' not in text


def test_an_arm_in_metrics_json(finished):
    arm = finished[1]['arms']['augmented']
    for key in ('accuracy', 'macro_f1', 'macro_precision', 'macro_recall', 'weighted_f1'):
        low, high = arm[key]['ci95']
        assert 0 <= low <= arm[key]['mean'] <= high <= 1
        assert arm[key]['mean'] == pytest.approx(np.mean(arm[key]['per_seed']))
        assert arm[key]['std'] == pytest.approx(np.std(arm[key]['per_seed'], ddof=1))
    assert arm['per_class'][NAMES[0]]['train_count'] == 3
    assert arm['per_class']['absent'] == {
        'precision': 0, 'recall': 0, 'f1': 0, 'support': 0, 'train_count': 30}
    assert arm['groups']['medium'] == {'classes': 1, 'test_images': 0, 'accuracy': None}
    assert arm['groups']['few']['test_images'] == 60


def test_a_difference_in_metrics_json(finished):
    arms, difference = finished[1]['arms'], finished[1]['differences']['augmented-original']
    for key in ('accuracy', 'macro_f1'):
        expected = arms['augmented'][key]['mean'] - arms['original'][key]['mean']
        assert difference[key]['mean'] == pytest.approx(expected)
    assert difference['mcnemar_p'] < 0.05 and difference['verdict'].startswith('Yes')
    assert difference['per_class']['absent']['holm_p'] == 1
    assert set(difference['groups']) == {'many', 'few'}


def test_classes_without_test_images_are_no_tests_to_correct_for():
    labels = np.repeat([0, 1], 40)
    right = np.zeros((2, 80, 12))
    right[:, np.arange(80), labels] = 1.0
    wrong = right.copy()
    wrong[:, :9] = np.eye(12)[1]
    found = []
    for classes in (2, 12):
        names, arms = [f'c{i}' for i in range(classes)], {'original': wrong, 'augmented': right}
        compared = results.compare(labels, {arm: p[..., :classes] for arm, p in arms.items()},
                                   names, np.full(classes, 9), {'many': 40, 'few': 5})
        found.append(compared['differences']['augmented-original']['per_class']['c0'])
    assert found[0]['holm_p'] == found[1]['holm_p'] < 0.05


@pytest.mark.parametrize('varies', [False, True])
def test_classes_are_corrected_for_their_number(varies):
    """Of 40 test images of each of three classes so many are right in one arm alone, by seed."""
    better = np.array([[20, 10, 7], [18, 9, 7], [8, 1, 7]] if varies else [[20, 10, 7]] * 3)
    labels, names = np.repeat([0, 1, 2], 40), ['a', 'b', 'c']
    right = np.eye(3)[np.tile(labels, (3, 1))]
    wrong = right.copy()
    for seed, counts in enumerate(better):
        for label, count in enumerate(counts):
            wrong[seed, 40 * label : 40 * label + count] = np.eye(3)[(label + 1) % 3]
    found = results.compare(labels, {'original': wrong, 'augmented': right}, names,
                            np.full(3, 9), {'many': 40, 'few': 5})
    classes = found['differences']['augmented-original']['per_class']
    exact, corrected = (np.array([classes[name][p] for name in names])
                        for p in ('mcnemar_p', 'holm_p'))
    assert len(set(exact)) == 3
    if varies:  # as Student's test knows, of the two classes in which seeds do
        assert (corrected[:2] > 2 * statistics.holm(exact)[:2]).all()
    else:
        np.testing.assert_allclose(corrected, statistics.holm(exact))
        np.testing.assert_allclose(corrected, exact * [3, 2, 1])


def test_the_answer_names_the_strongest_control(finished):
    folder, result = finished
    answer = wording.answer(result)
    low = 'augmented has not learnt its images; oversampled has not learnt its images'
    begins = f'Not yet a claim (2 seeds; {low}). As it stands: y'
    assert answer.startswith(begins)
    known = {arm: {'accuracy': {'per_seed': [0.9, 0.8]}} for arm in result['training']}
    clear = wording.answer(result | {'seeds': 5, 'training': known})
    assert clear.startswith(result['differences']['augmented-original']['verdict'])
    assert answer.removeprefix(begins) == clear.removeprefix('Y')
    known['classical'] = {'accuracy': {'per_seed': [0.1, 0.1]}}  # of which the answer says nothing
    found = result | {'seeds': 5, 'training': known}
    assert wording.answer(found) == clear and 'classical (10' in doubts.caution(found)
    assert doubts.of(found, ['classical']) == ['classical has not learnt its images']
    assert ' The strongest control is oversampled, with a macro-F1 of ' in answer
    low, high = result['differences']['augmented-oversampled']['macro_f1']['ci95']
    assert answer.endswith(f'%. {result["differences"]["augmented-oversampled"]["verdict"]}')
    assert 'Yes, augmented is better than oversampled: accuracy +' in answer
    assert f'(95% interval {100 * low:+.1f} to {100 * high:+.1f})' in answer
    assert answer in Page((folder / 'index.html').read_text('utf-8')).text

    more = {arm: {'macro_f1': {'mean': 0.99}} for arm in ('classical', 'synthetic_only')}
    assert results.strongest_control(result['arms'] | more) == 'classical'
    assert results.strongest_control({'original': {}, 'augmented': {}}) is None
    assert {*results.CONTROLS, results.BASELINE, results.CLAIM, *results.ON_TOP} <= set(ARMS)
    as_they_are = {name for name, arm in ARMS.items()
                   if arm.real and not arm.synthetic and not arm.repeated}
    assert set(doubts.AS_THEY_ARE) == as_they_are


def test_the_answer_names_every_control_that_is_not_beaten(finished):
    result = finished[1]
    found = json.loads(json.dumps(result))
    clear = {'ci95': [0.01, 0.2], 'mean': 0.1, 'p': 0.01}
    for arm in ('classical', 'logit_adjusted'):
        found['differences'][f'augmented-{arm}'] = {'accuracy': clear, 'macro_f1': clear}
    assert wording.answer(found) == wording.answer(result)
    level = {'ci95': [0.0, 0.2], 'mean': 0.1, 'p': 0.06}
    found['differences']['augmented-classical'] = {'accuracy': level, 'macro_f1': clear}
    assert wording.answer(found) == f'{wording.answer(result)} In accuracy and macro-F1 both ' \
        'augmented is not shown to be better than classical.'


def test_a_control_that_was_not_run_is_a_doubt(finished):
    result = finished[1] | {'controls': None}
    doubt = 'classical, the control of augmented_classical, was not run'
    assert doubts.lasting(result, ['original', 'augmented_classical']) == [doubt]
    assert doubt not in doubts.lasting(result, ['original', 'augmented'])
    without = result | {'controls': ['oversampled']}  # where it would say what original does
    assert doubts.lasting(without, ['augmented_classical']) == []
    ran = result | {'arms': result['arms'] | {'classical': result['arms']['original']}}
    assert doubts.lasting(ran, ['augmented_classical']) == []


def test_the_report_has_words_for_every_reason_of_the_quality_check():
    assert list(report.REASONS) == [*quality.REASONS, 'surplus']


def evidence(groups=(), classes=(), wide=0.0, doubted=(), **more):
    """The sentence on differences: (mean, p) of each group and name -> (recall, Holm p).

    F1 differs half as much, with intervals that reach `wide` both ways.
    """
    difference = {
        'groups': {name: {'accuracy': {'mean': mean, 'p': p}}
                   for name, (mean, p) in dict(groups).items()},
        'per_class': {
            name: {'recall': {'mean': mean}, 'holm_p': p,
                   'f1': {'mean': mean / 2, 'ci95': [mean / 2 - wide, mean / 2 + wide]}}
            for name, (mean, p) in dict(classes).items()}}
    result = {'differences': {'augmented-original': difference | {'doubts': list(doubted)}},
              'groups': GROUPS, 'seeds': 5, 'arms': {'original': {}, 'augmented': {}},
              'synthetic': None, 'seconds': None, 'hardware': None} | more
    return wording.evidence(result)


def test_what_was_learnt_is_the_mean_of_the_last_tenth_of_the_log(tmp_path):
    rows = [{'step': i, 'accuracy': i / 100, 'loss': 10.0 - i} for i in range(1, 26)]
    for i, name in enumerate('ab'):
        text = ''.join(json.dumps(row | {'loss': row['loss'] + i}) + '\n' for row in rows)
        (tmp_path / name).write_text('{"step": 5, "val_loss": 1}\n' + text, 'utf-8')
    (tmp_path / 'short').write_text(json.dumps(rows[0]) + '\n', 'utf-8')
    a, b, short = (results.read_log(tmp_path / name) for name in ('a', 'b', 'short'))
    found = results.training({'long': [a, b], 'short': [short]})
    assert found['long']['accuracy']['mean'] == pytest.approx(0.245)
    assert found['long']['loss']['per_seed'] == pytest.approx([-14.5, -13.5])
    assert found['short']['accuracy']['per_seed'] == [0.01]


def test_validation_is_that_of_the_weights_that_the_rule_keeps():
    seeds = [
        [{'step': step, 'val_loss': loss, 'val_scaled_loss': loss / 2, 'val_accuracy': accuracy}
         for step, loss, accuracy in rows] + [{'step': 30, 'loss': 0.1, 'accuracy': 1.0}]
        for rows in ([(10, 1.0, 0.5), (20, 2.0, 0.6)], [(10, 4.0, 0.1), (20, 3.0, 0.2)])
    ]
    last, best = (results.validation({'original': seeds}, rule)['original']
                  for rule in ('last', 'best_validation_loss'))
    assert last['loss']['per_seed'] == [2.0, 3.0] and best['loss']['per_seed'] == [1.0, 3.0]
    assert last['scaled_loss']['mean'] == 1.25 and best['accuracy']['per_seed'] == [0.5, 0.2]


def test_arms_that_did_not_learn_their_own_images_are_named(finished):
    sure = {'seeds': 5, 'arms': {}, 'differences': {}, 'training': {}}
    assert doubts.caution(sure) == ''
    assert doubts.caution(sure | {'training': knowing(original=[0.5, 0.9])}) == ''
    folder, metrics_ = finished
    said = doubts.caution(metrics_)
    assert 'augmented (2.0%), oversampled (10.0%).' in said and 'original' not in said
    page = Page((folder / 'index.html').read_text('utf-8')).text
    markdown = (folder / 'report.md').read_text('utf-8')
    assert said in page and said in markdown.replace('`', '')
    assert 'To go on, add' not in said  # before the arms have learnt
    scores = markdown.split('## Scores')[1].split('##')[0]
    assert [row.split('|')[-2].strip() for row in scores.splitlines() if row.startswith('| ')] == [
        'On its training images', '92.5', '50.0', '10.0']
    assert 'the last tenth of training' in page and 'the last tenth of training' in scores


def test_a_generator_that_was_seen_to_copy_is_named():
    sure = {'seeds': 5, 'arms': {}, 'differences': {}, 'training': {}}
    assert doubts.caution(sure | {'synthetic': None}) == ''
    assert doubts.caution(sure | {'synthetic': {'alarms': []}}) == ''
    alarms = ['the generator copies: 9.0% of the sample at step 10 are training images',
              'the generator copies: 25.0% of the sample at step 20 are training images']
    said = doubts.caution(sure | {'synthetic': {'alarms': alarms}})
    assert said == f'Alarm while the generator trained: {alarms[1]}.'


def test_how_much_the_judge_knows_is_said():
    made = {'judge': {'validation_images': 50, 'accuracy': 0.4, 'largest_class': 0.1},
            'unasked': ['pug']}
    said = wording.judge(made)
    assert '40.0% of 50 validation images' in said and 'would be on 10.0%' in said
    assert 'not asked about pug' in said and wording.judge({}) == ''
    blind = {'judge': made['judge'] | {'accuracy': 0.1}}
    for one, expected in ((made, ''), (blind, 'may know little of classes')):
        result = {'seeds': 5, 'training': {}, 'arms': {}, 'differences': {}, 'synthetic': one}
        said = doubts.caution(result)
        assert expected in said and bool(expected) == bool(said)


def test_an_arm_that_knows_no_image_of_a_class_is_named():
    sure = {'seeds': 5, 'arms': {}, 'differences': {}, 'training': {}}
    assert doubts.caution(sure | {'synthetic': {'unseen': {'synthetic_only': []}}}) == ''
    said = doubts.caution(sure | {'synthetic': {'unseen': {'synthetic_only': ['a', 'b']}}})
    assert said.startswith('synthetic_only has seen no image of a, b, of') and 'fill=' in said


@pytest.mark.parametrize(('seeds', 'said'), [(1, 'With one seed'), (2, '2 seeds say little'),
                                             (4, '4 seeds say little'), (5, '')])
def test_few_seeds_are_said_to_be_few(seeds, said):
    found = doubts.caution({'seeds': seeds, 'arms': {}, 'differences': {}, 'training': {}})
    assert found.startswith(said) and bool(found) == bool(said)


@pytest.mark.parametrize(('right', 'arms', 'said'), [
    (90, ['augmented'], True), (90, ['augmented', 'synthetic_only'], True),
    (50, ['augmented'], False), (90, ['augmented', 'classical'], False),
    (90, ['augmented_classical'], True), (90, ['augmented_classical', 'classical'], False)])
def test_a_gain_without_a_control_is_said_to_lack_it(right, arms, said):
    """`right` of 100 images under every arm but the original's, which has 50."""
    labels = np.zeros(100, int)
    guess = lambda n: np.eye(2)[(np.arange(100) >= n).astype(int)][None]  # noqa: E731
    found = results.compare(labels, {'original': guess(50), **dict.fromkeys(arms, guess(right))},
                            ['a', 'b'], np.array([9, 9]), {'many': 40, 'few': 25})
    caution = doubts.caution({'seeds': 5, 'training': {}, **found})
    assert ('No control was run' in caution) == said
    all_of_them = ','.join(['original', *arms, *results.CONTROLS])
    assert not said or f'--config.arms={all_of_them} ' in caution
    none = doubts.caution({'seeds': 5, 'training': {}, 'controls': [], **found})
    assert 'No control was run' not in none
    one = doubts.caution({'seeds': 5, 'training': {}, 'controls': ['oversampled'], **found})
    assert not said or f'--config.arms={",".join(["original", *arms, "oversampled"])} ' in one


@pytest.mark.parametrize('low, said', [(0.01, True), (1e-17, False)])
def test_what_can_be_told_from_zero_is_the_same_in_answer_and_caution(low, said):
    pair = {score: {'mean': 0.02, 'ci95': (low, 0.04)} for score in ('accuracy', 'macro_f1')}
    result = {'differences': {'augmented-original': pair}, 'arms': {'original': {}}}
    assert bool(doubts._no_control(result)) == said
    assert verdict.sentence('b', 'a', pair).startswith('Yes') == said


def test_classes_without_test_images_are_named():
    counts = np.array([9, 9, 9, 9])
    labels = np.repeat([0, 1], 4)
    found = results.compare(labels, {'original': np.eye(4)[labels][None]},
                            ['a', 'b', 'c', 'd'], counts, {'many': 40, 'few': 25})
    said = doubts.caution({'seeds': 5, 'training': {}, **found})
    assert said == '2 of 4 classes have no test image, and nothing here is said of c, d.'
    assert doubts.of({'seeds': 5, **found}, ['original']) == ['2 of 4 classes untested']
    assert not doubts.of({'seeds': 5, 'arms': {'original': {'per_class': {
        name: {'support': i, 'train_count': 9} for i, name in enumerate('abcd')}}}}, ['original'])
    assert found['arms']['original']['macro_f1']['mean'] == 1


def test_classes_of_one_or_two_test_images_are_counted():
    """A resample cannot know what others of them would have given."""
    names = [f'c{i}' for i in range(12)]
    for few, said in (([9, 2], ''), ([1, 2], '2 of 12 classes have one or two test images: macro')):
        labels = np.repeat(np.arange(12), [9] * 10 + few)
        found = results.compare(labels, {'original': np.eye(12)[labels][None]}, names,
                                np.full(12, 9), {'many': 40, 'few': 25})
        caution = doubts.caution({'seeds': 5, 'training': {}, **found})
        assert caution.startswith(said) and bool(caution) == bool(said)


def test_a_classifier_of_the_largest_class_alone_has_not_learnt():
    arms = {'original': {'per_class': {'a': {'train_count': 90, 'support': 9},
                                       'b': {'train_count': 10, 'support': 9}}}}
    result = {'seeds': 5, 'arms': arms, 'differences': {},
              'training': knowing(original=[0.9, 0.99])}
    said = doubts.caution(result)
    assert 'less than half, or hardly more than the largest class is, of their own' in said
    assert '(90.0%); the largest class is 90.0% of the real ones' in said
    assert doubts.of(result, ['original']) == ['original has not learnt its images']
    assert doubts.caution(result | {'training': knowing(original=[0.93, 0.99])}) == ''
    arms['original']['per_class']['a']['train_count'] = 9990  # of 10,000: to know all is enough
    assert doubts.caution(result | {'training': knowing(original=[1.0, 1.0])}) == ''
    even = knowing(oversampled=[0.9, 0.9], synthetic_only=[0.8, 0.8])  # which see other shares
    assert doubts.caution(result | {'training': even}) == ''


@pytest.mark.parametrize('arms, pair, said', [
    (['classical', 'augmented_classical'], ['augmented_classical', 'classical'], 'Yes, augmented_'),
    (['augmented_classical', 'classical'], ['augmented_classical', 'classical'], 'Yes, augmented_'),
    (['classical'], ['classical', 'original'], 'No arm that sees synthetic images was trained, so'),
    (['classical', 'synthetic_only'], ['synthetic_only', 'original'], 'Yes, synthetic_only is'),
    (['synthetic_only', 'augmented', 'classical'], ['augmented', 'original'], 'Yes, augmented is'),
    (['classical', 'augmented', 'augmented_classical'], ['augmented', 'original'], 'Yes, augmen')])
def test_the_answer_is_about_synthetic_images_whatever_was_trained(tmp_path, arms, pair, said):
    rates = {'classical': 0.5, 'synthetic_only': 0.9, 'augmented': 0.95, 'augmented_classical': 1}
    given = arguments(tmp_path, original=0.1, **{arm: rates[arm] for arm in arms})
    given['facts'] = FACTS | {'seeds': list(range(5))}
    result = report.write(tmp_path / 'report', **given)
    assert results.asked(result) == pair and results.shown(result) == pair[::-1]
    assert wording.answer(result).startswith(said)
    assert ('es, augmented_classical is better than classical' in wording.answer(result)) == (
        {*arms} >= {'classical', 'augmented_classical'})
    page = (tmp_path / 'report' / 'report.md').read_text('utf-8')
    assert f'F1 {pair[0]}' in page.replace('\\', '')
    html = Page((tmp_path / 'report' / 'index.html').read_text('utf-8')).text
    assert 'of recall from' not in html or f'of recall from {pair[1]} to {pair[0]}' in html


def test_doubts_stand_with_every_verdict(finished):
    folder, result = finished
    doubts = {pair: found['doubts'] for pair, found in result['differences'].items()}
    assert doubts['augmented-original'] == ['2 seeds', 'augmented has not learnt its images']
    assert doubts['oversampled-original'] == ['2 seeds', 'oversampled has not learnt its images']
    markdown = (folder / 'report.md').read_text('utf-8')
    for pair, found in result['differences'].items():
        said = f'{found["verdict"][0].lower()}{found["verdict"][1:]}'
        assert f'- Not yet a claim ({"; ".join(doubts[pair])}). As it stands: {said}' in markdown


def test_a_difference_is_told_seed_by_seed_and_group_by_group(finished):
    folder, result = finished
    one, other = (result['arms'][arm]['accuracy']['per_seed'] for arm in ('augmented', 'original'))
    by_seed = ', '.join(formats.points(a - b) for a, b in zip(one, other))
    markdown = (folder / 'report.md').read_text('utf-8')
    page = Page((folder / 'index.html').read_text('utf-8')).text
    assert f'; by seed {by_seed} |' in markdown and f'accuracy by seed: {by_seed}' in page
    groups = result['differences']['augmented-original']['groups']
    adjusted = statistics.holm([group['accuracy']['p'] for group in groups.values()])
    for group, p in zip(groups.values(), adjusted, strict=True):
        text = f'{formats.change(group["accuracy"])}, p {formats.p_value(p)}'
        assert text in markdown.replace('&lt;', '<')


def test_every_arm_and_picture_is_explained_in_both_reports(finished):
    folder, result = finished
    markdown = (folder / 'report.md').read_text('utf-8').replace('\\', '')
    page = Page((folder / 'index.html').read_text('utf-8')).text
    assert wording.SEES.keys() == ARMS.keys()
    scores = page[page.index('Scores') : page.index('Differences')]
    for arm in result['arms']:
        assert f'\n- {arm}: {wording.SEES[arm]}\n' in markdown and wording.SEES[arm] in scores
    found = captions.pictures(result, ['original', 'augmented'])
    assert {path.stem for path in folder.glob('*.png')} == found.keys()
    for caption, _ in found.values():
        assert f'*{caption}*' in markdown and caption in page


@pytest.mark.parametrize('p, said', [(0.0004, '< 0.001'), (0.0404, '0.040'), (0.0496, '0.0496'),
                                     (0.05, '0.050'), (0.049999, '0.0499'), (1.0, '1.000')])
def test_a_p_value_under_the_line_looks_it(p, said):
    assert formats.p_value(p) == said


def test_what_comes_next_can_be_copied(tmp_path):
    given = arguments(tmp_path, original=0.3, augmented=0.9)
    given['class_names'] = [*NAMES[:3], '<i>|`` --config.x=1']  # of which there is no test image
    result = report.write(tmp_path / 'report', **given)
    flags = '--config.classifier.seeds=5', (
        f'--config.arms=original,augmented,{",".join(results.CONTROLS)}')
    assert doubts.caution(result).endswith(
        f'To go on, add {" ".join(flags)} to the command, as a claim needs 5 seeds.')
    html = (tmp_path / 'report' / 'index.html').read_text('utf-8')
    assert not {'b', 'i'} & Page(html).tags
    assert all(f'<code>{flag}</code>' in html for flag in flags)
    markdown = (tmp_path / 'report' / 'report.md').read_text('utf-8')
    assert all(f'`{flag}`' in markdown for flag in flags)
    assert '&lt;i&gt;\\|\\`\\` `--config.x=1`' in markdown
    arm = {'seeds': 2, 'arms': {'original': {}}, 'differences': {}, 'training': {}}
    assert 'To go on' not in doubts.caution(arm)  # with nothing to compare
    both = {'accuracy': {'mean': 0.1, 'ci95': [0.05, 0.2]}, 'macro_f1': {'mean': 0, 'ci95': [0, 0]}}
    on_top = arm | {'seeds': 5, 'differences': {'augmented_classical-original': both}, 'arms': {
        name: {'macro_f1': {'mean': 0.5}} for name in ('original', 'augmented_classical',
                                                       'oversampled')}}
    assert doubts.caution(on_top) == ('To go on, add --config.arms=original,augmented_classical,'
                                       'oversampled,classical to the command.')


@pytest.mark.parametrize('until, said', [(0.9, True), (1.0, False)])
def test_the_table_s_notes_say_what_the_settings_make_true(until, said):
    notes = captions.tables({'until': until}, 1)
    assert ('real ones alone' in notes['training']) == said
    assert notes['mcnemar'].endswith('right equally often.')
    assert 'go by that' in captions.tables({}, 2)['mcnemar']
    outcomes = report._outcomes(QUALITY | {'thresholds': {'min_relevance': 0.02}})
    assert 'under 2%' in next(row for row in outcomes if 'off class' in row[0])[3]


def test_the_dose_says_to_what_it_fills(tmp_path):
    given = arguments(tmp_path, original=0.3, augmented=0.9) | dict(
        synthetic_counts=50 - COUNTS, quality=QUALITY)
    report.write(tmp_path / 'even', **given)
    assert ', which fill each to 50 |' in (tmp_path / 'even' / 'report.md').read_text('utf-8')
    report.write(tmp_path / 'uneven', **given | dict(synthetic_counts=51 - COUNTS // 2))
    assert 'which fill each' not in (tmp_path / 'uneven' / 'report.md').read_text('utf-8')


def test_what_was_left_out_is_said(finished, tmp_path):
    assert 'Classes short of their target' in (finished[0] / 'report.md').read_text('utf-8')
    found = FACTS['duplicates'] | {'contradictions': 4}
    facts = FACTS | {'unusable': 3, 'ignored': 2, 'duplicates': found}
    given = arguments(tmp_path, original=0.6) | {'facts': facts}
    result = report.write(tmp_path / 'report', **given)
    assert result['unusable'] == 3 and result['ignored'] == 2
    for page in ('report.md', 'index.html'):
        text = (tmp_path / 'report' / page).read_text('utf-8')
        assert 'Unusable image files that were left out: 3.' in text
        assert 'no images right in a class folder: 2 (data/ignored.json).' in text
        assert 'In 4 of the groups the labels disagree' in text


def test_classes_too_small_for_any_change_to_show_are_counted():
    """With 37 classes and several seeds 11 test images cannot do: 4 * 0.5^11 * 37 is 0.07."""
    assert [statistics.least_images(37, seeds) for seeds in (1, 3)] == [11, 12]
    labels = np.repeat(np.arange(37), [12, 11] + [20] * 35)
    right = np.eye(37)[np.tile(labels, (2, 1))]
    wrong = right.copy()
    wrong[:, :23] = np.eye(37)[5]
    found = results.compare(labels, {'original': wrong, 'augmented': right},
                            [f'c{i}' for i in range(37)], np.full(37, 9), {'many': 40, 'few': 5})
    classes = found['differences']['augmented-original']['per_class']
    assert classes['c0']['mcnemar_p'] * 37 < 0.05 < classes['c1']['mcnemar_p'] * 37
    said = wording.evidence({'seeds': 2, 'groups': {'many': 40, 'few': 5}, 'synthetic': None,
                             'seconds': None, 'hardware': None, **found})
    assert '(1 of 37 classes have under 12 test images' in said
    classes['c1']['holm_p'] = 0.01
    assert 'under 12' not in wording.evidence({  # but it was found
        'seeds': 2, 'groups': {'many': 40, 'few': 5}, 'synthetic': None, 'seconds': None,
        'hardware': None, **found})


def test_a_class_without_test_images_has_no_dot(tmp_path, monkeypatch):
    shown = {}
    monkeypatch.setattr(report.figures, 'per_class_f1',
                        lambda names, counts, f1: shown.update(f1) or b'png')
    report.write(tmp_path / 'report', **arguments(tmp_path, original=0.6, augmented=0.8))
    for f1 in shown.values():
        assert np.isnan(f1).tolist() == [name == 'absent' for name in NAMES]


def test_a_group_of_few_test_images_has_the_exact_p():
    """Four of four images turn right: by the bootstrap sure, by McNemar p is 2 * 0.5^4."""
    labels = np.array([0] * 100 + [1] * 100 + [2] * 4)
    before, after = labels.copy(), labels.copy()
    before[200:], before[:30] = 0, 1
    tables = {arm: np.eye(3)[found][None] for arm, found in
              (('original', before), ('augmented', after))}
    groups = results.compare(labels, tables, 'abc', [90, 30, 9], {'many': 40, 'few': 25})[
        'differences']['augmented-original']['groups']
    assert groups['few']['accuracy']['p'] == pytest.approx(0.125)
    assert groups['many']['accuracy']['p'] < 0.01


def test_the_evidence_says_where_it_gained_and_lost():
    groups = {'many': (-0.03, 0.01), 'medium': (0.02, 0.4), 'few': (0.04, 0.001)}
    classes = {'A': (0.2, 0.04), 'B': (0.3, 0.06), 'C': (-0.1, 0.01)}
    assert evidence(groups, classes) == (
        'Augmented gained beyond chance on class A (recall +20.0, F1 +10.0), the classes with at '
        'most 25 training images (accuracy +4.0 points) and lost beyond chance on class C (recall '
        '-10.0, F1 -5.0), the classes with over 40 training images (accuracy -3.0 points).')
    early = evidence(groups, classes, doubted=['3 seeds'])  # which forbid a claim
    assert early.startswith('As it stands, augmented gained beyond chance on class A (')


def test_the_evidence_counts_the_classes_whose_f1_rose():
    classes = {'A': (0.2, 0.5), 'B': (0.1, 0.6), 'C': (-0.1, 0.7), 'D': (0.3, 1.0)}
    own = {name: {'support': 9 * (name != 'D')} for name in classes}  # D has no test image
    found = evidence(classes=classes, arms={'original': {'per_class': own}, 'augmented': {}})
    said = '; under augmented F1 is higher in {} and lower in {} of 3 classes, by however little.'
    assert found.endswith(said.format(2, 1))
    classes['B'] = (2e-17, 1.0)  # as seeds of +1/3 and -1/3 leave it
    found = evidence(classes=classes, arms={'original': {'per_class': own}, 'augmented': {}})
    assert found.endswith(said.format(1, 1))


def test_a_class_that_is_only_named_more_often_has_not_gained():
    assert evidence(classes={'A': (0.2, 0.04), 'B': (0.1, 0.01), 'C': (-0.1, 0.01)}, wide=0.06) == (
        'Augmented gained beyond chance on class A (recall +20.0, F1 +10.0) and changed only the '
        'recall beyond chance on class B (recall +10.0, F1 +5.0), class C (recall -10.0, F1 -5.0).')


def test_the_evidence_counts_a_group_only_after_holm():
    nothing = ('On no class and no group of classes is there a change beyond chance, corrected for '
               'the number of classes and of groups.')
    assert evidence({'many': (0.1, 0.04), 'few': (0.1, 0.03)}) == nothing  # 2 x 0.03 = 0.06
    assert evidence({'few': (0.1, 0.03)}).startswith('Augmented gained')


def test_the_evidence_warns_where_most_images_were_rejected():
    quality = {'made': 110, 'accepted': 40, 'rejected': {'far': 60, 'surplus': 10}}
    assert 'only 45.5% of the synthetic images passed the quality check.' in evidence(
        synthetic=quality)
    found = evidence(synthetic=quality | {'unfilled': {'a': 3, 'b': 1}})
    assert 'quality check, and 2 classes lack some.' in found
    assert 'quality check' not in evidence(synthetic=quality | {'accepted': 45})


def test_the_evidence_names_five_classes_and_counts_the_rest():
    found = evidence(classes={f'c{i}': (0.1 + i / 100, 0.01) for i in range(7)})
    assert 'c6 (recall +16.0' in found and 'F1 +6.0) and 2 more.' in found and 'c1' not in found


def test_the_evidence_leaves_out_what_is_unknown():
    copies = {'made': {'either': 0.013}, 'accepted': {'either': 0.0},
              'real_held_out': {'either': 0.021}}
    known = evidence(synthetic={'copies': copies}, hardware='1 GPU',
                     seconds={'data': 6.0, 'generator': 60.0})
    assert known.endswith('; 1.3% of the synthetic images drawn count as copies of training '
                          'images (dropped), 2.1% of real held-out images do, all false alarms; '
                          'all of it took 1.1 minutes on 1 GPU.')
    unknown = {'made': {'either': 0.0}, 'real_held_out': {'either': None}}
    text = evidence(synthetic={'copies': unknown}, seconds={'data': 6.0, 'generator': None})
    assert 'cop' not in text and 'minutes' not in text
    alone = {'arms': {'original': {}}, 'differences': {}, 'synthetic': None, 'seconds': {},
             'hardware': 'x'}
    assert wording.evidence(alone) == ''


@pytest.mark.parametrize(('found', 'said'), [
    (None, ''), ({'groups': 0, 'near': False}, 'No copies (of equal pixels) were found'),
    ({'groups': 7, 'across_splits': 0, 'near': True}, 'real images: 7; none lay across splits.'),
    ({'groups': 7, 'across_splits': 2, 'parted': 3, 'near': True},
     '(equal, or encoded, sized or mirrored anew) among the real images: 7; 2 lay across splits, '
     'for which 3 were moved to train or left out.'),
])
def test_images_that_show_one_picture_are_counted(found, said):
    assert said in wording.repeats(found)


def test_the_pages_say_how_many_images_show_one_picture(finished):
    assert finished[1]['duplicates'] == FACTS['duplicates']
    for page in ('index.html', 'report.md'):
        assert '7; 2 lay across splits' in (finished[0] / page).read_text('utf-8')


def test_the_sections_come_in_the_order_of_a_sceptic(finished):
    page = (finished[0] / 'index.html').read_text('utf-8')
    markdown = (finished[0] / 'report.md').read_text('utf-8')
    headings = ['Training data', 'Synthetic images: accepted and rejected', 'Scores', 'Differences',
                'Accuracy by number of training images', 'Average precision', 'Classes',
                'Confusions', 'Mistakes', 'Calibration', 'Copies of training images',
                'Likeness to real images', 'Training', 'How it was made']
    assert re.findall('<h[23]>(.*)</h[23]>', page) == headings
    assert re.findall('^##+ (.*)$', markdown, re.MULTILINE) == headings
    assert 'class="answer"' in page.split('<h2>')[0]
    pictures = re.findall(r'\((\w+)\.png\)', markdown)
    assert pictures == ['class_counts', 'sheet', 'rejected', 'per_class_f1', 'confusion',
                        'mistakes', 'reliability', 'copies', 'classifier_curves', 'generator_curve']


def test_too_few_images_to_compare_are_a_sentence_and_no_table_of_dashes(tmp_path):
    nothing = dict.fromkeys(generative.MEASURES)
    found = QUALITY['generative'] | {'images': 7} | dict.fromkeys(
        ('synthetic_train', 'validation_train', 'synthetic_validation'), nothing)
    given = arguments(tmp_path, original=0.3, augmented=0.9)
    given |= {'quality': QUALITY | {'generative': found}, 'synthetic_counts': 50 - COUNTS}
    report.write(tmp_path / 'report', **given)
    for page in ('index.html', 'report.md'):
        text = (tmp_path / 'report' / page).read_text('utf-8')
        assert 'No figures: only 7 synthetic images' in text and 'Coverage: share' not in text


def test_average_precision_is_of_the_stored_probabilities(finished):
    folder, result = finished
    found = {}
    for arm in ('original', 'augmented'):
        stored = [np.load(folder.parent / f'{arm}_{s}.npz')['probabilities'] for s in range(2)]
        found[arm] = [np.mean([average_precision_score(LABELS == k, p[:, k]) for k in range(3)])
                      for p in stored]
        own = result['arms'][arm]['average_precision']
        assert own['macro']['per_seed'] == pytest.approx(found[arm])
        assert list(own['per_class'].values())[-1] is None  # no test image
        assert own['macro']['ci95'][0] < own['macro']['mean'] < own['macro']['ci95'][1] <= 1
    apart = result['differences']['augmented-original']['average_precision']['macro']
    assert apart['mean'] == pytest.approx(np.mean(found['augmented']) - np.mean(found['original']))


def test_a_gain_that_is_none_once_adjusted_is_said():
    def entry(low, high):
        scores = (*results.DECIDING, *results.EVENLY)
        return {key: {'mean': (low + high) / 2, 'ci95': (low, high)} for key in scores}

    pairs = 'augmented-original', 'augmented_classical-classical', 'logit_adjusted-original'
    arms = {'original': {}, 'classical': {'macro_f1': {'mean': 0.5}}}
    found = {'seeds': 5, 'arms': arms, 'training': {}, 'controls': [],
             'differences': dict.fromkeys(pairs, entry(0.01, 0.03)),
             'adjusted': {'differences': {pairs[0]: entry(0.01, 0.02), pairs[1]: entry(-0.01, 0.02),
                                          pairs[2]: entry(-0.01, 0.02)}}}
    said = doubts.caution(found)
    assert said.startswith('Of augmented_classical over classical (+0.5 [-1.0, +2.0]) no gain')
    assert 'original' not in said  # still a gain, or no claim about synthetic images
    found['adjusted']['differences'][pairs[1]] = entry(-0.001, 0.031)
    assert not doubts.caution(found)  # hardly told from chance, but as large as before
    found['adjusted']['differences'][pairs[1]] = entry(-0.01, 0.02)
    found['differences'] = dict.fromkeys(pairs, entry(0.01, 0.03) | {
        'macro_recall': {'mean': 0.01, 'ci95': (-0.01, 0.03)}})
    assert not doubts.caution(found)  # no gain that naming rare classes could have given
    found['differences'] = dict.fromkeys(pairs, entry(-0.01, 0.03))
    assert not doubts.caution(found)


def with_validation(predictions, images=40):
    """The same files, each in a folder of its own beside what was said of validation images, and
    the calibrations that follow: arm -> one a seed.
    """
    moved, fits = {}, {}
    for arm, paths in predictions.items():
        moved[arm] = [path.with_suffix('') / path.name for path in paths]
        fits[arm] = []
        for seed, (before, after) in enumerate(zip(paths, moved[arm], strict=True)):
            after.parent.mkdir()
            before.rename(after)
            rng = np.random.default_rng((len(arm), seed))
            labels = rng.integers(0, 4, images)
            said = rng.dirichlet(np.full(4, 0.5), images) + np.eye(4)[labels] * rng.random()
            said /= said.sum(-1, keepdims=True)
            np.savez(after.with_name(results.VALIDATION), probabilities=said, labels=labels)
            fits[arm].append(calibration.fit(said, labels, COUNTS))
    return moved, fits


def test_arms_are_adjusted_by_what_they_said_of_validation_images(tmp_path):
    given = arguments(tmp_path, original=0.4, augmented=0.6, logit_adjusted=0.5)
    given['predictions'], fits = with_validation(given['predictions'])
    given['predictions']['logit_adjusted'][1].with_name(results.VALIDATION).unlink()
    result = report.write(tmp_path / 'report', **given)
    found, arms = result['adjusted'], result['arms']
    assert set(found['arms']) == {'original', 'augmented'}  # the third: as of earlier code
    assert set(found['differences']) == {'augmented-original'}
    assert 'tau' not in arms['logit_adjusted']['calibration']
    stored = np.stack([
        np.load(path)['probabilities'] for path in given['predictions']['augmented']])
    own = calibration.adjusted(stored, fits['augmented'], COUNTS).argmax(-1)
    assert found['arms']['augmented']['accuracy']['per_seed'] == pytest.approx(
        (own == LABELS).mean(-1))
    told = arms['augmented']['calibration']
    assert told['tau']['per_seed'] == pytest.approx([one.tau for one in fits['augmented']])
    calm = calibration.calibrated(stored, fits['augmented'])
    assert told['calibrated_ece']['per_seed'] == pytest.approx(
        [metrics.expected_calibration_error(LABELS, p) for p in calm])
    assert arms['augmented']['average_precision']['macro']['per_seed'] == pytest.approx([
        np.mean([average_precision_score(LABELS == k, p[:, k]) for k in range(3)]) for p in calm])
    row = f'| augmented | {formats.mean_std(found["arms"]["augmented"]["macro_recall"])} ['
    entry = found['differences']['augmented-original']
    change = formats.change(entry['accuracy'])
    markdown = (tmp_path / 'report' / 'report.md').read_text('utf-8')
    section = markdown.split('## Post-hoc')[1].split('\n##')[0]
    assert row in section and change in section and '`--mode=predict`' in section
    assert 'macro recall' in entry['verdict'] and 'F1' not in entry['verdict']
    assert wording.claimed(entry['verdict'], entry['doubts']) in section
    page = (tmp_path / 'report' / 'index.html').read_text('utf-8')
    assert change.split()[0] in page.split('<h2>Post-hoc')[1].split('<h2>')[0]
    with (tmp_path / 'report' / 'predictions.csv').open(encoding='utf-8') as file:
        shown = [row['augmented_probability'] for row in csv.DictReader(file)]
    assert shown == [f'{one:.4f}' for one in calm.mean(axis=0).max(-1)]


def test_calibration_stands_in_every_report(finished):
    folder, result = finished
    for scores in result['arms'].values():
        error = scores['calibration']['ece']
        assert error == scores['expected_calibration_error'] and len(error['per_seed']) == 2
        assert error['mean'] == pytest.approx(np.mean(error['per_seed']))
        assert error['std'] == pytest.approx(np.std(error['per_seed'], ddof=1))
    with np.load(folder.parent / 'augmented_1.npz') as stored:
        expected = metrics.expected_calibration_error(stored['labels'], stored['probabilities'])
    assert result['arms']['augmented']['calibration']['ece']['per_seed'][1] == expected
    written = formats.mean_std(result['arms']['oversampled']['calibration']['ece'])
    section = (folder / 'report.md').read_text('utf-8').split('## Calibration')[1]
    assert f'| oversampled | {written} |' in section.split('##')[0]
    page = Page((folder / 'index.html').read_text('utf-8')).text
    assert written in page.split('Expected calibration')[1].split('Copies of')[0]


def test_confusion_changes_are_means_over_seeds_in_both_reports(finished):
    folder, _ = finished
    rates = {}
    for arm in ('original', 'augmented'):
        stored = [np.load(folder.parent / f'{arm}_{s}.npz') for s in range(2)]
        rates[arm] = np.mean([[(p[LABELS == t] == c).mean() for t in range(3) for c in range(4)]
                              for p in (one['probabilities'].argmax(-1) for one in stored)], axis=0)
    change = (rates['augmented'] - rates['original']).reshape(3, 4)
    np.fill_diagonal(change, 0)
    section = (folder / 'report.md').read_text('utf-8').split('## Confusions')[1].split('##')[0]
    rows = [row.strip('|').split(' | ') for row in section.splitlines() if row.startswith('| ')][1:]
    assert len(rows) == min(10, (np.abs(change) > 0).sum())
    assert float(rows[0][-1]) == pytest.approx(
        100 * change.flat[np.abs(change).argmax()], abs=0.051)
    assert 'prove nothing by themselves' in section
    page = Page((folder / 'index.html').read_text('utf-8')).text
    assert all(row[-1].strip() in page.split('Confusions')[1] for row in rows)


def test_every_arm_and_difference_stands_in_every_table(finished):
    folder, result = finished
    page = Page((folder / 'index.html').read_text('utf-8')).text
    markdown = (folder / 'report.md').read_text('utf-8')
    groups = markdown.split('## Accuracy by')[1].split('##')[0]
    for pair, difference in result['differences'].items():
        few = difference['groups']['few']['accuracy']
        row = f'| {pair.replace("-", " − ")} |'
        ranked = markdown.split('## Average precision')[1].split('##')[0]
        found = difference['average_precision']
        cells = [formats.change(score) for score in (found['macro'], *found['groups'].values())]
        assert f'{row} {" | ".join(cells)} |' in ranked
        assert markdown.count(row) == 3 and row in groups
        assert f'{100 * few["mean"]:+z.1f} [' in groups.split(row)[1].splitlines()[0]
        assert page.count(pair.replace('-', ' − ')) == 3


def test_console_table_ends_with_the_differences(finished):
    terminal = Console(width=80, file=io.StringIO())
    terminal.print(console.comparison(finished[1]))
    text = terminal.file.getvalue()
    assert '±' in text and text.index('original') < text.index('augmented -')
    for difference in finished[1]['differences'].values():
        assert f'{100 * difference["accuracy"]["mean"]:+z.1f}' in text
        for key in ('accuracy', 'macro_f1'):  # the table fits: no interval is cut in two
            assert formats.interval(difference[key]['ci95']) in text


def test_a_group_without_classes_has_no_column(tmp_path):
    given = arguments(tmp_path, original=0.5, augmented=0.6)
    report.write(tmp_path / 'report', **given | {'groups': {'many': 60, 'few': 25}})
    markdown = (tmp_path / 'report/report.md').read_text('utf-8')
    page = Page((tmp_path / 'report/index.html').read_text('utf-8')).text
    assert '| arm | medium (26 to 60): 2 classes, 30 test images | few (at most 25): 2' in markdown
    assert 'medium (26 to 60)' in page and 'many (' not in page + markdown


def test_test_images_that_belong_together_are_drawn_together_and_said(tmp_path):
    given = arguments(tmp_path, original=0.5, augmented=0.6)
    alone = report.write(tmp_path / 'alone', **given)
    whole = report.write(tmp_path / 'whole', **given, clusters=np.arange(90) // 5)
    assert (alone['test_clusters'], whole['test_clusters']) == (None, 18)
    for name, said in (('alone', False), ('whole', True)):
        for page in ('report.md', 'index.html'):
            text = (tmp_path / name / page).read_text('utf-8')
            assert ('taken as one the 90 test images are 18, which' in text) is said
    assert 'group_by, but for 7 of which it says nothing)' in wording.images(
        whole | {'ungrouped': 7})
    assert alone['arms']['original']['accuracy'] != whole['arms']['original']['accuracy']
    pair = (result['differences']['augmented-original']['accuracy'] for result in (alone, whole))
    one, other = pair
    assert one['mean'] == other['mean'] and one['ci95'] != other['ci95']


def test_one_arm_has_nothing_to_compare(tmp_path):
    result = report.write(tmp_path / 'report', **arguments(tmp_path, original=0.6))
    page = Page((tmp_path / 'report/index.html').read_text('utf-8'))
    assert 'Only original was trained' in page.text
    assert result['differences'] == {} and result['synthetic'] is None
    assert 'McNemar p' not in page.text and 'Synthetic images' not in page.text
    assert 'changed most' not in page.text and not (tmp_path / 'report/rejected.png').exists()
    assert console.comparison(result).row_count == 1


def test_one_seed_has_no_standard_deviation(tmp_path):
    given = arguments(tmp_path, original=0.6, augmented=0.6) | {'facts': {'seeds': [0]}}
    given['predictions'] = {arm: paths[:1] for arm, paths in given['predictions'].items()}
    result = report.write(tmp_path / 'report', **given)
    assert result['arms']['original']['accuracy']['std'] is None
    assert 'With one seed' in (tmp_path / 'report/index.html').read_text('utf-8')
    assert console.comparison(result).row_count == 3


def test_equal_arms_are_called_so():
    same = np.stack([classify(LABELS, 0.6, s) for s in range(2)])
    found = results.compare(LABELS, {'original': same, 'augmented': same}, NAMES, COUNTS, GROUPS)
    difference = found['differences']['augmented-original']
    assert difference['accuracy']['mean'] == 0 and difference['mcnemar_p'] == 1
    assert difference['verdict'].startswith('No difference')


def test_a_perfect_classifier():
    perfect = np.stack([classify(LABELS, 1.1, s) for s in range(2)])
    arm = results.compare(LABELS, {'original': perfect}, NAMES, COUNTS, GROUPS)['arms']['original']
    accuracy = results.jsonable(arm['accuracy'])
    exact = pytest.approx([0.025 ** (1 / len(LABELS)), 1])
    assert accuracy == {'mean': 1, 'std': 0, 'ci95': exact, 'per_seed': [1, 1]}
    assert arm['macro_f1']['mean'] == 1  # though one class of four has no test image


def test_jsonable():
    value = {1: np.float32(0.5), 'a': (np.nan, np.inf, np.arange(2)), 'p': pathlib.Path('x'),
             'b': np.True_, 'n': None}
    assert results.jsonable(value) == {'1': 0.5, 'a': [None, None, [0, 1]], 'p': 'x', 'b': True,
                                       'n': None}


@pytest.mark.parametrize('change, message', [
    (lambda labels, p: (labels[::-1], p), 'test labels are not those'),
    (lambda labels, p: (labels[1:], p[1:]), 'test labels are not those'),
    (lambda labels, p: (labels, p[:, :3]), 'shape'),
    (lambda labels, p: (labels, p * np.nan), 'not finite')])
def test_a_file_that_does_not_fit_is_named(tmp_path, change, message):
    given = arguments(tmp_path, original=0.6, augmented=0.6)
    path = given['predictions']['augmented'][1]
    with np.load(path) as stored:
        labels, probabilities = change(stored['labels'], stored['probabilities'])
    np.savez(path, labels=labels, probabilities=probabilities)
    with pytest.raises(ValueError, match=f'augmented_1.npz.*{message}'):
        report.write(tmp_path / 'report', **given)
    assert not (tmp_path / 'report').exists()


@pytest.mark.parametrize('damage', [lambda data: b'', lambda data: data[: len(data) // 2],
                                    lambda data: b'no zip',
                                    lambda data: data[:300] + b'?' + data[301:]])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path, damage):
    given = arguments(tmp_path, original=0.6, augmented=0.6)
    path = given['predictions']['augmented'][1]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(OSError, match=f'augmented_1.npz is damaged; delete {path.parent} '):
        report.write(tmp_path / 'report', **given)


def test_arms_need_the_same_number_of_seeds(tmp_path):
    given = arguments(tmp_path, original=0.6, augmented=0.6)
    given['predictions']['augmented'].pop()
    with pytest.raises(ValueError, match="'augmented': 1"):
        report.write(tmp_path, **given)


def test_class_names_must_be_distinct(tmp_path):
    with pytest.raises(ValueError, match='distinct'):
        given = arguments(tmp_path, original=0.6) | {'class_names': ['a', 'a', 'b', 'c']}
        report.write(tmp_path, **given)


def test_groups_of_test_images_reach_tests_verdict_and_counts():
    labels, people = np.repeat([0, 1], 30), np.repeat(np.arange(6), 10)
    tables = {'original': np.eye(2)[np.ones((1, 60), int)], 'augmented': np.eye(2)[labels][None]}
    found = results.compare(labels, tables, 'ab', np.array([9, 9]), {'many': 40, 'few': 5}, people)
    pair = found['differences']['augmented-original']
    assert pair['per_class']['a']['mcnemar_p'] == 0.0625  # all three of its people, of 0.5 each
    assert 'on 60 test images' not in pair['verdict']
    assert found['arms']['original']['per_class']['a']['clusters'] == 3
    assert doubts.tested(found | {'test_clusters': 6}) == ([3, 3], 'groups of test images')


def test_the_p_of_a_group_knows_how_seeds_vary():
    labels = np.repeat([0, 1], 1000)
    before = np.tile(labels, (3, 1))
    before[:, 1000:1500] = 0
    after = before.copy()
    for seed, more in enumerate((10, 60, 200)):
        after[seed, 1000 : 1000 + more] = 1
    tables = {'original': np.eye(2)[before], 'augmented': np.eye(2)[after]}
    found = results.compare(labels, tables, 'ab', np.array([90, 9]), {'many': 40, 'few': 25})
    pair = found['differences']['augmented-original']
    assert pair['mcnemar_p'] < 0.001 and pair['groups']['few']['accuracy']['p'] > 0.05


def test_the_scores_of_a_class_are_means_over_seeds():
    labels = np.repeat([0, 1], 10)
    tables = {'original': np.eye(2)[np.stack([labels, 1 - labels])]}
    found = results.compare(labels, tables, 'ab', np.array([9, 9]), {'many': 40, 'few': 5})
    assert found['arms']['original']['per_class']['a']['recall'] == 0.5
