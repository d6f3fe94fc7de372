"""The modes of main.py that use a finished run: which flags each takes, and what it says."""

import os
import pathlib

from eval import report, results, wording
from eval.formats import plural
from generation import export
from generation.samples import COLUMNS
from train import checkpoints, comparing, disk, parallel, reuse, runs, stages
from train.progress import say, show

MODES = ('predict', 'evaluate', 'compare', 'sample', 'export')
EXPORTS = ('classifier', 'tfds', 'splits')
# the modes that a flag of the command line is for; others would pass over it in silence
FLAGS = {
    'config': ('run', 'doctor'), 'workdir': ('run', 'doctor'), 'rerun': ('run',),
    'sweep': ('run',), 'sweep_index': ('run',), 'sweep_list': ('run',), 'checkpoint': MODES,
    'out': MODES, 'images': ('predict', 'evaluate'), 'views': ('predict', 'evaluate'),
    'split': ('evaluate',), 'predictions': ('compare',), 'classes': ('sample',),
    'count': ('sample',), 'seed': ('sample',), 'guidance': ('sample',), 'what': ('export',),
    **dict.fromkeys(
        ('distributed', 'coordinator_address', 'num_processes', 'process_id'), ('run',)),
}


def check_flags(mode, given):
    """Raises ValueError if one of the flags `given` is for other modes alone."""
    for name in given:
        if mode not in (fits := FLAGS.get(name, (mode,))):
            modes = ' or '.join(f'--mode={one}' for one in fits)
            raise ValueError(f'--{name} is for {modes}, and this is --mode={mode}')


def use(mode, checkpoint, *, out, images, split, views, predictions, classes, count, seed, guidance,
        what):
    """Does what one of MODES says with a finished run, and says where the result is.

    Args:
        out: a path, or a folder to put a file into; None: in the run's folder.
        predictions: paths of the files to compare. what: of EXPORTS, to export. The others: see the
            functions of `train.reuse`.

    Raises:
        ValueError: what is asked for does not fit the mode or the run.
    """
    if checkpoint is None:
        raise ValueError(f'--mode={mode} needs --checkpoint=RUN_FOLDER')
    for name, path in {'checkpoint': checkpoint, 'images': images, 'out': out}.items():
        if path == '':  # of a shell's variable that is not set: not what the default is for
            raise ValueError(f'--{name}= is empty; name a path')
        checkpoints.require_utf8(path or '', f'--{name}')
    run = runs.open_run(checkpoint)
    parallel.set_up(run.config.cpu_devices)
    say(f'On {parallel.describe()}')
    one = '' if len(run.seeds) == run.config.classifier.seeds else f'_seed_{run.seeds[0]}'
    on = '' if split == 'test' else f'_{split}'
    names = {
        'predict': f'predictions_{run.arm}{one}.csv',
        'evaluate': f'evaluation_{run.arm}{one}{on}.json',
        'compare': 'comparison.json', 'sample': 'samples',
        'export': {
            'classifier': 'classifier.jaxexport', 'tfds': 'tfds', 'splits': 'splits.csv'}[what],
    }
    given = os.path.expanduser(out or run.folder / names[mode])
    out = pathlib.Path(given)
    if out.is_symlink():
        out = out.resolve()  # what it leads to is replaced, not the link
    if out.exists() and not (out.is_file() or out.is_dir()):
        raise ValueError(f'--out={out} is neither a file nor a folder')
    if pathlib.PurePath(names[mode]).suffix and (out.is_dir() or given.endswith(os.sep)):
        out /= names[mode]  # a file's, into that folder
    if out.is_file() and not pathlib.PurePath(names[mode]).suffix:
        raise ValueError(f'--out={out} is a file; name a folder')
    if mode in ('predict', 'evaluate') or mode == 'export' and what == 'classifier':
        _say_if_worse(run)
    if mode == 'predict':
        if images is None:
            raise ValueError('--mode=predict needs --images=FOLDER, a zip or an image')
        total, bad = reuse.write_predictions(run, images, out, views)
        say(f'{plural(total, "image")}, {bad:,} of them unusable, by {run.words()}: {out}')
    elif mode == 'evaluate':
        if images and split != 'test':
            raise ValueError(f'--split={split} is of the run, --images are others; give one')
        scores = reuse.evaluate(run, images, split, views)
        show(report.scores_table(run.words(), scores))
        disk.write_json(out, results.jsonable(scores))
        say(f'Per class: {out}')
    elif mode == 'compare':
        if not predictions:
            raise ValueError('--mode=compare needs --predictions=FILE.csv, or several')
        table = out.with_name(f'{out.name.removesuffix(".json")}.csv')
        with disk.atomic_write(table) as aside:
            found = comparing.compare(run, predictions, aside)
        show(report.console_table(found))
        for difference in found['differences'].values():
            say(wording.claimed(difference['verdict'], difference['doubts']))
        disk.write_json(out, results.jsonable(found))
        say(f'Per class: {out}; of each test image: {table}')
    elif mode == 'sample':
        which = 'all of them' if count <= COLUMNS else f'the first {COLUMNS} of each'
        total = reuse.sample(
            run, out, classes=classes, count=count, first_seed=seed, guidance=guidance)
        say(f'{total} images, not checked, in {out}/<class>; {which}: {out / "sheet.png"}')
    elif what == 'splits':
        say(f'{plural(comparing.write_listing(run, out), "image")}: {out}')
    elif what == 'tfds':
        total = export.write_tfds(run.stage('synthetic'), out, run.class_names())
        say(f"{total} images: tfds.data_source('synthetic', split='train', data_dir='{out}')")
    else:
        reuse.export_classifier(run, out)
        say(f'{run.words()}: {out}, its classes in {out.name}.json')


def _say_if_worse(run):
    """Says so if the run's report found that its arm is worse than the baseline."""
    folder = stages.places(run.folder).get('report')  # of these very classifiers, or none
    found = disk.read_json(folder / 'metrics.json') if folder else {}
    for key in ('differences', f'{run.arm}-original'):
        found = found.get(key)
        found = found if isinstance(found, dict) else {}
    said = found.get('verdict', '')
    if said.startswith('No, '):  # 'No difference ...' is none
        said = wording.claimed(said, found.get('doubts', ()))
        say(f'  Its report says: {said} For original: '
            f'--checkpoint={run.folder / "classifiers" / "original"}')
