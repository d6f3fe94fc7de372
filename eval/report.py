"""From the saved predictions to the answer: metrics.json, report.md, index.html and the figures."""

import base64
import functools
import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup, escape

from data.image_sets import ImageSet
from eval import (
    calibration,
    captions,
    doubts,
    figures,
    generative,
    metrics,
    mistakes,
    results,
    wording,
)
from eval.formats import change, interval, mean_std, number, p_value, percent, plural, points
from eval.results import BASELINE, METRICS

REASONS = {  # of the quality check, in a few words
    'blank': 'too little contrast', 'saturated': 'too many extreme pixels',
    'copy': 'a copy of a training image', 'duplicate': 'like another synthetic image',
    'off_class': 'the judge does not see its class', 'far': 'far from its class in feature space',
    'surplus': 'good, but its class was full'}
_SELECTED = {'last': 'those of the last step',
             'best_validation_loss': 'those of the lowest loss on validation images'}
_FLAG = re.compile(r"(--\w[\w.=,'/]*[\w'])")


def write(folder: Path, *, dataset: str, class_names: Sequence[str], train_counts: np.ndarray,
          test: ImageSet, groups: Mapping[str, int], predictions: Mapping[str, Sequence[Path]],
          curves: Mapping[str, Sequence[list[dict]]], training: Mapping, facts: Mapping,
          synthetic_counts: np.ndarray | None = None, quality: Mapping | None = None,
          sheet: Path | None = None, copies: Path | None = None, rejected: bytes | None = None,
          validation: Mapping | None = None, clusters: np.ndarray | None = None) -> dict:
    """Write index.html, report.md, metrics.json, predictions.csv and *.png into `folder`.

    Args: train_counts, synthetic_counts: int [C], real and accepted synthetic training images;
        test: the test images, in the order of the predictions; groups: {'many': above, 'few': up
        to} in training images; predictions: arm -> one predictions.npz a seed (`probabilities`
        float [N, C], `labels` int [N]), seeds in the same order, and beside each
        `results.VALIDATION`; quality: the synthesis stage's quality.json, with what `reporting`
        adds; curves: 'generator' or an arm -> rows of each
        metrics.jsonl; sheet, copies: PNGs of real and synthetic images; rejected: a PNG of rejected
        ones; training, validation: what each arm reached there, by the functions of these names in
        `results`; clusters: int [N], which test images belong together, see `statistics`; facts:
        `seeds`, `steps`, `select`, `duplicates`, `unusable` and `ignored` (files), `grouped_by`
        (what says which images belong together), `ungrouped` (images of which it says nothing),
        `controls` (that could be run), `seconds`, `hardware`, `versions`, `commit`, `date`,
        `command`, `config`.
    Returns: what metrics.json says.
    Raises: ValueError, with the file's name, if test sets differ or predictions do not fit.
    """
    start = time.monotonic()
    class_names, train_counts = list(map(str, class_names)), np.asarray(train_counts)
    if len(set(class_names)) != len(class_names) or len(class_names) != len(train_counts):
        raise ValueError(f'need {len(train_counts)} distinct class names, got {class_names}')
    labels, probabilities = results.read(predictions, len(class_names))
    fits = results.calibrations(predictions, train_counts)
    calibrated = {arm: calibration.calibrated(probabilities[arm], by) for arm, by in fits.items()}
    moved = {arm: calibration.adjusted(probabilities[arm], by, train_counts)
             for arm, by in fits.items()}
    said_of = class_names, train_counts, groups, clusters
    result = results.jsonable({
        'schema': 1, 'dataset': dataset, 'classes': len(class_names),
        'train_images': train_counts.sum(), 'test_images': len(labels),
        'seeds': len(facts['seeds']), 'steps': facts.get('steps'), 'groups': groups,
        'test_clusters': None if clusters is None else len(np.unique(clusters)),
        **results.compare(labels, probabilities, *said_of, calibrated=calibrated),
        'adjusted': results.adjusted(labels, moved, *said_of),
        'synthetic': quality, 'validation': validation, 'training': training,
        **{key: facts.get(key) for key in (
            'duplicates', 'unusable', 'ignored', 'grouped_by', 'ungrouped', 'controls', 'seconds',
            'hardware', 'versions', 'commit', 'date', 'command')}})
    for arm, by in fits.items():
        result['arms'][arm]['calibration'] |= results.jsonable({
            key: results.over_seeds([getattr(one, key) for one in by])
            for key in ('temperature', 'tau')})
    for pair, difference in result['differences'].items():
        difference['doubts'] = doubts.of(result, pair.split('-'))
        if pair in result['adjusted']['differences']:
            result['adjusted']['differences'][pair]['doubts'] = difference['doubts']
    folder.mkdir(parents=True, exist_ok=True)
    said = {**probabilities, **calibrated}  # of several classifiers a mean, as predict gives it
    mistakes.write_table(folder / 'predictions.csv', test.names, class_names, labels, said)
    probabilities = {arm: probabilities[arm] for arm in results.shown(result)}
    wrong = mistakes.sheet(
        test.images, class_names, labels, {arm: said[arm] for arm in probabilities})
    by_class = class_names, train_counts, synthetic_counts, result
    confusion = _confusion(labels, probabilities, len(class_names))
    pictures = (_class_pictures(*by_class, confusion) | _curves(curves)
                | {'reliability': _reliability(labels, probabilities)}
                | _given(sheet=sheet, copies=copies, rejected=rejected, mistakes=wrong))
    if result['seconds']:
        result['seconds']['report'] = round(time.monotonic() - start, 1)
    _save(folder, result, pictures, _context(*by_class, confusion, facts))
    return result


def _save(folder: Path, result: Mapping, pictures: Mapping[str, bytes], context: Mapping):
    for name, png in pictures.items():
        (folder / f'{name}.png').write_bytes(png)
    (folder / 'metrics.json').write_text(_json(result), 'utf-8')
    for template, name in (('report.html', 'index.html'), ('report.md', 'report.md')):
        text = templates().get_template(template).render(context, pictures=pictures)
        (folder / name).write_text(text, 'utf-8')


def _context(class_names, train_counts, synthetic_counts, result, confusion, facts) -> dict:
    """What the templates read, but for the pictures."""
    shown = list(confusion)
    return {
        'm': result, 'shown': shown, 'facts': results.jsonable(facts), 'metrics': METRICS,
        'generative': generative.MEASURES,
        'notes': captions.tables(result['synthetic'] or {}, result['seeds']),
        'outcomes': _outcomes(result['synthetic'] or {}),
        'groups': _groups(result), 'images': wording.images(result), 'sees': _sees(result),
        'by_seed': _by_seed(result),
        'group_p': {pair: wording.group_p(found['groups'])
                    for pair, found in result['differences'].items()},
        'captions': captions.pictures(result, shown),
        'verdicts': [wording.claimed(found['verdict'], found['doubts'])
                     for found in result['differences'].values()],
        'adjusted_verdicts': [wording.claimed(found['verdict'], found['doubts'])
                              for found in result['adjusted']['differences'].values()],
        'judge': wording.judge(result['synthetic'] or {}),
        'answer': wording.answer(result), 'caution': doubts.caution(result),
        'evidence': wording.evidence(result),
        'rows': _class_rows(class_names, train_counts, synthetic_counts, result, shown),
        'changes': _changes(class_names, confusion),
        'made': _made(result, train_counts, synthetic_counts, facts)}


def _outcomes(quality: Mapping) -> list[tuple]:
    """What became of the synthetic images: (outcome, images, their share of all made, why)."""
    made = quality.get('made', 0)
    rows = [('Made', made, ''), ('Accepted', quality.get('accepted', 0), '')]
    reasons = dict(REASONS)
    if least := (quality.get('thresholds') or {}).get('min_relevance'):
        reasons['off_class'] = f'the judge gives its class a probability under {100 * least:.3g}%'
    rows += [(f'Rejected: {reason.replace("_", " ")}', count, reasons.get(reason, ''))
             for reason, count in quality.get('rejected', {}).items() if count]
    return [(name, count, count / made if made else None, why) for name, count, why in rows]


def _groups(result: Mapping) -> dict[str, dict]:
    """The groups that any class is in, with their bounds in words and their sizes."""
    own = next(iter(result['arms'].values()))['groups']
    return {group: {'bounds': words, **own[group]}
            for group, words in wording.bounds(result['groups']).items() if own[group]['classes']}


def _sees(result: Mapping) -> dict[str, str]:
    """arm -> what its classifiers see, and whether the settings make it another name of one."""
    given = result.get('controls')
    same = [arm for arm in results.CONTROLS if given is not None and arm not in given]
    return {arm: f'{words}; by these settings as {BASELINE}' if arm in same else words
            for arm, words in wording.SEES.items()}


def _by_seed(result: Mapping) -> dict[str, str]:
    """arm-arm -> the difference in accuracy of each seed's pair of classifiers, in points."""
    found = {}
    for pair in result['differences'] if result['seeds'] > 1 else ():
        one, other = (result['arms'][arm]['accuracy']['per_seed'] for arm in pair.split('-'))
        found[pair] = ', '.join(points(a - b) for a, b in zip(one, other, strict=True))
    return found


def _changes(class_names, confusion) -> list[dict]:
    """The confusions that changed most between two arms, with the classes' names."""
    if len(confusion) < 2:
        return []
    return [{**row, 'true': class_names[row['true']], 'predicted': class_names[row['predicted']]}
            for row in metrics.confusion_changes(*confusion.values())]


def _class_rows(class_names, train_counts, synthetic_counts, result, shown) -> list[dict]:
    """The per-class table, largest training class first."""
    difference = result['differences'].get('-'.join(reversed(shown)))
    rows = []
    for i in figures.by_count(train_counts):
        name = class_names[i]
        scores = [result['arms'][arm]['per_class'][name] for arm in shown]
        rows.append({'name': name, 'train': int(train_counts[i]), 'test': scores[0]['support'],
                     'synthetic': None if synthetic_counts is None else int(synthetic_counts[i]),
                     'f1': [score['f1'] if score['support'] else None for score in scores],
                     'difference': difference and difference['per_class'][name]})
    return rows


def _made(result, train_counts, synthetic_counts, facts) -> list[tuple[str, str]]:
    """What the section on the making states, as name and value, where it is known."""
    quality, seconds = result['synthetic'] or {}, result['seconds'] or {}
    dose = None
    if synthetic_counts is not None:
        dose = (f'{np.sum(synthetic_counts):,}, from {np.min(synthetic_counts):,} to '
                f'{np.max(synthetic_counts):,} a class')
        whole = np.unique(train_counts + synthetic_counts)
        if len(whole) == 1 and synthetic_counts.any():
            dose += f', which fill each to {whole[0]:,}'
    dose_of_a_batch = None
    if 'share' in quality:
        until = quality['until']
        dose_of_a_batch = f'{percent(quality["share"])}%' + (
            f' in the first {percent(until)}% of the steps, none after them' if until < 1 else '')
    rows = {
        'Seeds': ', '.join(map(str, facts['seeds'])),
        'Steps of a classifier': result['steps'] and f'{result["steps"]:,}',
        'Weights of a classifier': _SELECTED.get(facts.get('select')),
        'Synthetic images used': dose,
        'Synthetic share of a batch': dose_of_a_batch,
        'Loss weight of a synthetic image (of a real one: 1)': quality.get('weight'),
        'Weights of the generator': quality.get('checkpoint'),
        'Sampler': quality.get('sampler'), 'Sampling steps': quality.get('sampling_steps'),
        'Guidance scale (1 = off)': quality.get('guidance_scale'),
        'Guided for t in': quality.get('guidance_interval'),
        'Thresholds': _listed(quality.get('thresholds')),
        'Seconds': _listed({stage: f'{s:,.1f}' for stage, s in seconds.items() if s is not None}),
        'Hardware': result['hardware'], 'Versions': _listed(result['versions']),
        'Commit': result['commit'], 'Date': result['date']}
    return [(name, str(value)) for name, value in rows.items() if value not in (None, '')]


def _listed(values: Mapping | None) -> str:
    return ', '.join(f'{name} {value:.4g}' if isinstance(value, float) else f'{name} {value}'
                     for name, value in (values or {}).items())


def _confusion(labels, probabilities, num_classes: int) -> dict[str, np.ndarray]:
    """Arm -> counts [C, C] of all its seeds; probabilities: arm -> [S, N, C]."""
    return {arm: np.sum([metrics.confusion(labels, p.argmax(-1), num_classes) for p in seeds], 0)
            for arm, seeds in probabilities.items()}


def _reliability(labels, probabilities) -> bytes:
    """PNG of the confidence of each arm, all seeds together; probabilities: arm -> [S, N, C]."""
    return figures.reliability({
        arm: metrics.reliability(np.tile(labels, len(p)), np.concatenate(p))
        for arm, p in probabilities.items()})


def _given(**pictures: Path | bytes | None) -> dict[str, bytes]:
    """Name -> PNG of those that there are, as files or as bytes."""
    return {name: png if isinstance(png, bytes) else Path(png).read_bytes()
            for name, png in pictures.items() if png}


def _class_pictures(class_names, train_counts, synthetic_counts, result,
                    confusion) -> dict[str, bytes]:
    """Name -> PNG of what is drawn by class; confusion: of the arms to show, counts [C, C]."""
    f1 = {arm: [row['f1'] if row['support'] else np.nan for row in
                (result['arms'][arm]['per_class'][name] for name in class_names)]
          for arm in confusion}
    return {
        'class_counts': figures.class_counts(class_names, train_counts, synthetic_counts),
        'per_class_f1': figures.per_class_f1(class_names, train_counts, f1),
        'confusion': figures.confusion_matrices(class_names, train_counts, confusion)}


def _curves(curves: Mapping[str, Sequence[list[dict]]]) -> dict[str, bytes]:
    """Name -> PNG of the losses that were logged."""
    pictures = {}
    runs = {name: rows for name, rows in curves.items() if rows}
    if generator := runs.pop('generator', None):
        pictures['generator_curve'] = figures.generator_curve(generator)
    if runs:
        pictures['classifier_curves'] = figures.classifier_curves(runs)
    return pictures


def _json(value) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + '\n'


def _cell(text) -> Markup:
    """Text for a Markdown table cell: as HTML, and with Markdown's own signs escaped."""
    return Markup(re.sub(r'([\\`*_|~$\[\]])', r'\\\1', str(escape(text)).replace('\n', ' ')))


def _coded(text: str) -> Markup:
    """HTML of a text, flags of the command line as code, which does not break within them."""
    return Markup(_FLAG.sub(r'<code>\1</code>', str(escape(text))))


def _coded_cell(text: str) -> Markup:
    """`_cell` of a text but for its flags of the command line, which are code."""
    parts = _FLAG.split(text)
    return Markup('').join(Markup(f'`{part}`') if i % 2 else _cell(part)
                           for i, part in enumerate(parts))


@functools.cache
def templates() -> jinja2.Environment:
    """The folder templates/, with the ways that numbers are written as filters."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent / 'templates')
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters.update(
        percent=percent, points=points, interval=interval, change=change, mean_std=mean_std,
        p_value=p_value, number=number, plural=plural, cell=_cell, json=_json, coded=_coded,
        coded_cell=_coded_cell,
        base64=lambda png: base64.b64encode(png).decode())
    return environment
