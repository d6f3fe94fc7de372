"""The modes of main.py that use a finished run: what each does, and what it says.

A mode is a function of the run, the flag --out and the further flags that it takes, by their names.
"""

import inspect
import os
import pathlib

from eval import console, results, wording
from eval.formats import plural
from generation.export import write_tfds
from generation.samples import COLUMNS
from train import checkpoints, comparing, disk, finished, parallel, reuse, runs
from train.progress import say, show

_BEFORE = ['run', 'doctor']  # the modes that need no finished run
_OF_A_RUN = ('rerun', 'sweep', 'sweep_index', 'sweep_list', 'distributed', 'coordinator_address',
             'num_processes', 'process_id')
EXPORTS = {'classifier': 'classifier.jaxexport', 'tfds': 'tfds', 'splits': 'splits.csv'}  # names


def predict(run, out, *, images, views, adjust):
    """Classifies images into a CSV."""
    if images is None:
        raise ValueError('--mode=predict needs --images=FOLDER, a zip or an image')
    how = '_adjusted' if adjust else ''
    out = _place(run, out, f'predictions_{_classifiers(run)}{how}.csv')
    _say_if_worse(run, adjust)
    total, bad = reuse.write_predictions(run, images, out, views, adjust)
    say(f'{plural(total, "image")}, {bad:,} of them unusable, by {run.words()}: {out}')


def evaluate(run, out, *, images, split, views, adjust):
    """Measures on a split of the run, or on other images."""
    if images and split != 'test':
        raise ValueError(f'--split={split} is of the run, --images are others; give one')
    on = ('' if split == 'test' else f'_{split}') + ('_adjusted' if adjust else '')
    out = _place(run, out, f'evaluation_{_classifiers(run)}{on}.json')
    _say_if_worse(run, adjust)
    scores = reuse.evaluate(run, images, split, views, adjust)
    show(console.scores(run.words(), scores))
    disk.write_json(out, results.jsonable(scores))
    say(f'Per class: {out}')


def compare(run, out, *, predictions):
    """Sets what other networks say of the test images beside the arms."""
    if not predictions:
        raise ValueError('--mode=compare needs --predictions=FILE.csv, or several')
    out = _place(run, out, 'comparison.json')
    table = out.with_name(f'{out.name.removesuffix(".json")}.csv')
    with disk.atomic_write(table) as aside:
        found = comparing.compare(run, predictions, aside)
    show(console.comparison(found))
    for difference in found['differences'].values():
        say(wording.claimed(difference['verdict'], difference['doubts']))
    disk.write_json(out, results.jsonable(found))
    say(f'Per class: {out}; of each test image: {table}')


def sample(run, out, *, classes, count, seed, guidance):
    """Draws images, unchecked, into a folder."""
    out = _place(run, out, 'samples')
    total = reuse.sample(run, out, classes=classes, count=count, first_seed=seed, guidance=guidance)
    which = 'all of them' if count <= COLUMNS else f'the first {COLUMNS} of each'
    say(f'{total} images, not checked, in {out}/<class>; {which}: {out / "sheet.png"}')


def export(run, out, *, what, adjust):
    """Writes the classifier, the synthetic images or the splits for other programs."""
    if adjust and what != 'classifier':
        raise ValueError(f'--adjust is of classifiers, and this is --what={what}')
    out = _place(run, out, 'classifier_adjusted.jaxexport' if adjust else EXPORTS[what])
    if what == 'classifier':
        _say_if_worse(run, adjust)
        reuse.export_classifier(run, out, adjust)
        say(f'{run.words()}: {out}, its classes in {out.name}.json')
    elif what == 'tfds':
        total = write_tfds(run.stage('synthetic'), out, run.class_names())
        say(f"{total} images: tfds.data_source('synthetic', split='train', data_dir='{out}')")
    else:
        say(f'{plural(comparing.write_listing(run, out), "image")}: {out}')


MODES = {work.__name__: work for work in (predict, evaluate, compare, sample, export)}


def options(mode):
    """The flags that one of MODES takes, besides --checkpoint and --out."""
    return inspect.getfullargspec(MODES[mode]).kwonlyargs


def check_flags(mode, given):
    """Raises ValueError if one of the flags `given` is for other modes alone, which would pass over
    it in silence."""
    fits = dict.fromkeys(_OF_A_RUN, ['run']) | dict.fromkeys(('config', 'workdir'), _BEFORE)
    fits |= dict.fromkeys(('checkpoint', 'out'), list(MODES))
    for one in MODES:
        for name in options(one):
            fits[name] = [*fits.get(name, []), one]
    for name in given:
        if mode not in fits.get(name, (mode,)):
            modes = ' or '.join(f'--mode={one}' for one in fits[name])
            raise ValueError(f'--{name} is for {modes}, and this is --mode={mode}')


def use(mode, checkpoint, out, given):
    """Does what one of MODES says with a finished run, and says where the result is.

    Args:
        out: a path, or a folder to put a file into; None: in the run's folder.
        given: {flag: value} of the mode's `options`.

    Raises:
        ValueError: what is asked for does not fit the mode or the run.
    """
    if checkpoint is None:
        raise ValueError(f'--mode={mode} needs --checkpoint=RUN_FOLDER')
    paths = {'checkpoint': checkpoint, 'images': given.get('images'), 'out': out}
    for name, path in paths.items():
        if path == '':  # of a shell's variable that is not set: not what the default is for
            raise ValueError(f'--{name}= is empty; name a path')
        checkpoints.require_utf8(path or '', f'--{name}')
    with parallel.memory_errors('give it fewer images at a time'):
        run = runs.open_run(checkpoint)
        parallel.set_up(run.config.cpu_devices)
        say(f'On {parallel.describe()}')
        MODES[mode](run, out, **given)


def _place(run, out, name):
    """The path that --out=`out` means for a result called `name`, a file's if it has a suffix."""
    given = os.path.expanduser(out or run.folder / name)
    is_file, out = bool(pathlib.PurePath(name).suffix), pathlib.Path(given)
    if out.is_symlink():
        out = out.resolve()  # what it leads to is replaced, not the link
    if out.exists() and not (out.is_file() or out.is_dir()):
        raise ValueError(f'--out={out} is neither a file nor a folder')
    if is_file and (out.is_dir() or given.endswith(os.sep)):
        out /= name
    if out.is_file() and not is_file:
        raise ValueError(f'--out={out} is a file; name a folder')
    return out


def _classifiers(run):
    """The classifiers that the run was opened for, in a file's name."""
    one = '' if len(run.seeds) == run.config.classifier.seeds else f'_seed_{run.seeds[0]}'
    return f'{run.arm}{one}'


def _say_if_worse(run, adjust=False):
    """Says so if the run's report found that its arm, adjusted or as it is, is worse than the
    baseline.
    """
    folder = finished.places(run.folder).get('report')  # of these very classifiers, or none
    found = disk.read_json(folder / 'metrics.json') if folder else {}
    for key in (*['adjusted'] * adjust, 'differences', f'{run.arm}-original'):
        found = found.get(key)
        found = found if isinstance(found, dict) else {}
    said = found.get('verdict', '')
    if said.startswith('No, '):  # 'No difference ...' is none
        said = wording.claimed(said, found.get('doubts', ()))
        say(f'  Its report says{", of adjusted arms" * adjust}: {said} For original: '
            f'--checkpoint={run.folder / "classifiers" / "original"}')
