"""What the stage `report` puts together, from the files of the stages before it."""

import itertools
import json

import numpy as np

from data import clusters, cuts, splits
from eval import report, results, sheets, wording
from generation import export
from train import arms, classifying, provenance, stages
from train.progress import say, show

SHOWN = 12  # rejected images of each reason


def write(folder, config, parts, synthetic, synthetic_folder, classifier_folders,
          generator_folder, seconds, command):
    """metrics.json, report.md, index.html and the figures.

    Args:
        config: whole and frozen. parts: the `Splits`.
        synthetic, synthetic_folder, generator_folder: the synthetic `ImageSet` and the folders of
            these stages; None in a run without them.
        classifier_folders: {arm: [folder of each seed]}.
        seconds: {stage: how long it took}.
        command: that does the run again.
    """
    counts = parts.train_counts
    seconds = _by_topic(seconds)
    synthetic_counts = summary = sheet = copies = rejected = None
    curves = {arm: [results.read_log(f / 'metrics.jsonl') for f in fs]
              for arm, fs in classifier_folders.items()}
    made = [generator_folder, synthetic_folder, *itertools.chain(*classifier_folders.values())]
    facts = provenance.facts() | stages.made_by(list(filter(None, made)))
    validation = results.validation(curves, config.classifier.select)
    training = results.training(curves)
    if synthetic_folder:
        synthetic_counts = np.bincount(synthetic.labels, minlength=len(counts))
        summary = json.loads((synthetic_folder / 'quality.json').read_text('utf-8'))
        if any(arms.ARMS[arm].mixed for arm in classifier_folders):
            summary |= {
                'share': classifying.synthetic_share(config.classifier, parts, synthetic),
                'weight': config.classifier.synthetic_weight,
                'until': config.classifier.synthetic_until,
            }
        sheet, copies = (synthetic_folder / name for name in ('contact_sheet.png', 'copies.png'))
        copies = copies if copies.exists() else None  # no training image has a second to compare
        rejected = _rejected_sheet(synthetic_folder, summary['rejected'])
        curves['generator'] = [rows := results.read_log(generator_folder / 'metrics.jsonl')]
        used = summary.get('generator_step', config.generator.steps)
        summary['alarms'] = [row['alarm'] for row in rows if 'alarm' in row and row['step'] <= used]
        summary['unseen'] = _unseen(classifier_folders, synthetic_counts, parts.class_names)
    report.write(
        folder, dataset=provenance.dataset_name(config.data), class_names=parts.class_names,
        train_counts=counts, synthetic_counts=synthetic_counts,
        groups={'many': config.report.many, 'few': config.report.few},
        predictions={arm: [f / 'predictions.npz' for f in fs]
                     for arm, fs in classifier_folders.items()},
        quality=summary, curves=curves, sheet=sheet, copies=copies, rejected=rejected,
        training=training, validation=validation,
        clusters=clusters.find(
            parts.test.names, parts.test.labels, config.splits.group_by, parts.duplicates, 'test'),
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
            'controls': [arm for arm in results.CONTROLS if not arms.twin(config.classifier, arm)],
            'seconds': seconds, 'command': command, 'config': config.to_dict(),
            **facts,
        },
    )


def depends(config, trained):
    """What a report depends on besides the stages before it, for `stages.Runner.run`.

    Args:
        trained: (arm, seed) of each classifier, of which their own fingerprints say nothing.
    """
    return {
        'reads': {'report': config.report, 'trained': [list(one) for one in trained]},
        'code': ['train/classifying.py', 'train/reporting.py', 'eval'],
    }


def tell(folder):
    """Prints the comparison and the answer of a report that was written."""
    metrics = json.loads((folder / 'metrics.json').read_text('utf-8'))
    show(report.console_table(metrics))
    for sentence in filter(None, (wording.answer(metrics), wording.caution(metrics))):
        say(sentence)


def _ungrouped(parts, pattern):
    """How many images have names in which `pattern` finds nothing; None without one."""
    names = [name for split in splits.SPLITS for name in getattr(parts, split).names]
    return cuts.shared(names, pattern).count(None) if pattern else None


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
