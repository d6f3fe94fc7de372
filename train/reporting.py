"""What the stage `report` puts together, from the files of the stages before it."""

import json

import numpy as np

from data import clusters, cuts, image_sets, splits
from eval import console, doubts, report, results, sheets, wording
from eval.formats import percent
from generation import export
from train import arms, classifying, finished, provenance
from train.progress import say, show

SHOWN = 12  # rejected images of each reason


def write(folder, config, parts, synthetic, folders, seconds, command):
    """metrics.json, report.md, index.html, the figures and predictions.csv.

    Args:
        config: whole and frozen. parts: the `Splits`.
        synthetic: the synthetic `ImageSet`; None in a run without one.
        folders: {stage: its folder}. seconds: {stage: how long it took}.
        command: that does the run again.
    """
    trained = _trained(config, folders)
    predictions = {arm: [one / 'predictions.npz' for one in own] for arm, own in trained.items()}
    logs = {arm: [_log(one) for one in own] for arm, own in trained.items()}
    curves, drawn = dict(logs), {}
    if synthetic is not None:
        curves['generator'] = [_log(folders['generator'])]
        drawn = _drawn(config, parts, synthetic, folders, *curves['generator'])
    made = [one for stage, one in folders.items() if stage != 'data']
    report.write(
        folder, dataset=provenance.dataset_name(config.data), class_names=parts.class_names,
        train_counts=parts.train_counts, test=parts.test,
        groups={'many': config.report.many, 'few': config.report.few},
        predictions=predictions, curves=curves, training=results.training(logs),
        validation=results.validation(logs, config.classifier.select),
        clusters=clusters.of_test(parts, config.splits.group_by),
        facts={
            'seeds': list(arms.seeds(config.classifier)), 'steps': config.classifier.steps,
            'select': config.classifier.select,
            'duplicates': {
                'groups': len(parts.duplicates), 'across_splits': len(parts.leaks),
                'parted': sum(entry['parted'] for entry in parts.leaks),
                'near': config.splits.duplicate_correlation < 1,
                'contradictions': len(parts.contradictions),
            },
            'unusable': len(parts.bad_images), 'ignored': len(parts.ignored),
            'ungrouped': _ungrouped(parts, config.splits.group_by),
            'grouped_by': splits.keeper(parts.train, config.splits.group_by) or None,
            'controls': [arm for arm in results.CONTROLS if not arms.twin(config.classifier, arm)],
            'seconds': _by_topic(seconds), 'command': command, 'config': config.to_dict(),
            **provenance.facts(), **finished.made_by(made),
        },
        **drawn,
    )


def _trained(config, folders):
    return {arm: [folders[arms.stage(arm, seed)] for seed in arms.seeds(config.classifier)]
            for arm in config.arms}


def _log(folder):
    return results.read_log(folder / 'metrics.jsonl')


def _drawn(config, parts, synthetic, folders, log):
    """What `report.write` is given of the synthetic images; log: the generator's rows."""
    folder, counts = folders['synthetic'], np.bincount(
        synthetic.labels, minlength=len(parts.class_names))
    quality = json.loads((folder / 'quality.json').read_text('utf-8'))
    used = quality.get('generator_step', config.generator.steps)
    quality |= {
        'alarms': [row['alarm'] for row in log if 'alarm' in row and row['step'] <= used],
        'unseen': _unseen(config.arms, counts, parts.class_names),
    }
    if any(arms.ARMS[arm].mixed for arm in config.arms):
        quality |= {
            'share': classifying.synthetic_share(config.classifier, parts, synthetic),
            'weight': config.classifier.synthetic_weight,
            'until': config.classifier.synthetic_until,
        }
    copies = folder / 'copies.png'
    return {
        'synthetic_counts': counts, 'quality': quality, 'sheet': folder / 'contact_sheet.png',
        'copies': copies if copies.exists() else None,  # no training image has a second to compare
        'rejected': _rejected_sheet(folder, quality['rejected']),
    }


def depends(config, trained):
    """What a report depends on besides the stages before it, for `stages.Runner.run`.

    Args:
        trained: (arm, seed) of each classifier, of which their own fingerprints say nothing.
    """
    return {
        'reads': {'report': config.report, 'trained': [list(one) for one in trained]},
        'code': ['train/classifying.py', 'train/reporting.py', 'eval'],
    }


def tell(config, workdir, folders):
    """Prints what a finished run has to say: the comparison and the answer of its report or,
    without test images, what its classifiers reach on validation images.
    """
    if 'report' not in folders:
        _tell_untested(config, workdir, folders)
        return
    metrics = json.loads((folders['report'] / 'metrics.json').read_text('utf-8'))
    show(console.comparison(metrics))
    for sentence in filter(None, (wording.answer(metrics), doubts.caution(metrics))):
        say(sentence)
    say(f'Report: {folders["report"] / "index.html"}')


def _tell_untested(config, workdir, folders):
    logs = {arm: [_log(one) for one in own] for arm, own in _trained(config, folders).items()}
    for arm, found in results.validation(logs, config.classifier.select).items():
        say(f'{arm}: {percent(found["accuracy"]["mean"])}% of the validation images right')
    say('No image was held out to test on (config.splits.test_fraction=0), so nothing is compared. '
        f'To use the classifiers: --mode=predict --checkpoint={workdir}')


def _ungrouped(parts, pattern):
    """How many images are of no group; None where there are none."""
    if not splits.keeper(parts.train, pattern):
        return None
    sets = [getattr(parts, split) for split in image_sets.SPLITS]
    return sum(cuts.shared(one.names, pattern, one.groups).count(None) for one in sets)


def _unseen(used, synthetic_counts, class_names):
    """{arm without real images: names of the classes of which it sees no synthetic one either}."""
    none = [class_names[label] for label in np.flatnonzero(synthetic_counts == 0)]
    return {arm: none for arm in used if not arms.ARMS[arm].real}


def _rejected_sheet(folder, counts):
    """PNG of some rejected images of each reason; None without any.

    Args:
        folder: that of the synthetic images. counts: {reason: images rejected for it}.
    """
    rows = {}
    for reason, count in counts.items():
        if some := export.read_rejected(folder, reason, SHOWN):
            rows[f'{reason.replace("_", " ")}\n{count:,} in all'] = some
    return sheets.named(rows) if rows else None


def _by_topic(seconds):
    """Seconds of the stages under the names of metrics.json's schema."""
    names = {'judge': 'synthesis', 'synthetic': 'synthesis'}
    totals = {}
    for stage, value in seconds.items():
        name = names.get(stage, stage.split('/')[0])
        totals[name] = round(totals.get(name, 0) + value, 1)
    return totals
