"""Do images made by a diffusion model that saw only my training images make my classifier better?

    python main.py --config=configs/augmented.py[:VARIANT] [--config.KEY=VALUE ...] [--workdir=DIR]
    python main.py --mode=doctor --config=configs/augmented.py:folder --config.data.train=IMAGES
    python main.py --config=configs/augmented.py --sweep=configs/sweeps/dose.py
    python main.py --mode=predict|evaluate|compare|sample|export --checkpoint=RUN_FOLDER ...

docs/guide.md says which variants there are (:digits is the quickest, :auto is for images of your
own), docs/config.md what each KEY does. The same command again does nothing, or goes on where it
was interrupted.
"""

import gc

if __name__ == '__main__':
    import signal

    from train import hugepages

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it at once, until a run begins
    hugepages.ask()
    gc.disable()  # imports leave no garbage, and looking for it takes a tenth of the start

import functools
import io
import itertools
import os
import pathlib
import sys

import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

from configs import sweeps
from configs.check import check, require_fields
from configs.default import LISTS, absolute
from data import cache, splits
from train import (
    arms,
    classifying,
    disk,
    doctor,
    generating,
    guard,
    judging,
    loop,
    modes,
    parallel,
    place,
    preparing,
    processes,
    provenance,
    reporting,
    reuse,
    runs,
    stages,
    sweeping,
    synthesizing,
)
from train.progress import say

_CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'The experiment: configs/augmented.py or configs/original.py, with :variant.'
)
_WORKDIR = flags.DEFINE_string('workdir', None, "The run's folder; default runs/<config name>.")
_RERUN = flags.DEFINE_bool('rerun', False, 'Do again what other settings or code have made.')
_SWEEP = flags.DEFINE_string('sweep', None, 'Many runs, one after another: configs/sweeps/*.py.')
_SWEEP_INDEX = flags.DEFINE_integer('sweep_index', None, 'Only this run of the sweep, from 0.')
_SWEEP_LIST = flags.DEFINE_bool('sweep_list', False, "Prints the sweep's runs, a command a line.")
_MODE = flags.DEFINE_enum(
    'mode', 'run', ['run', 'doctor', *modes.MODES],
    'run: the experiment. doctor: what is in the images, and what a run costs. Others need '
    '--checkpoint. predict: classify --images into the CSV '
    '--out. evaluate: measure on --images or --split. compare: set --predictions of other networks '
    'beside the arms. sample: draw images into the folder --out. '
    'export: the classifier or the images, as --what says, to --out.',
)
_CHECKPOINT = flags.DEFINE_string(
    'checkpoint', None, "A run's folder, or in it classifiers/<arm>[/seed_<n>]."
)
_IMAGES = flags.DEFINE_string(
    'images', None, 'A folder or a zip of images, or one of them; for evaluate also a CSV.'
)
_OUT = flags.DEFINE_string('out', None, 'Where the result goes; default in the run folder.')
_SPLIT = flags.DEFINE_enum('split', 'test', splits.SPLITS, "The run's, to evaluate on.")
_VIEWS = flags.DEFINE_integer('views', 1, 'Moved views of an image to average, 1 to 10.', 1, 10)
_PREDICTIONS = flags.DEFINE_list(
    'predictions', [], 'CSV files with the columns file and class, of the test images, to compare.'
)
_CLASSES = flags.DEFINE_list('classes', [], 'Classes to sample; default all.')
_COUNT = flags.DEFINE_integer('count', 8, 'Images of each class to sample.', 1)
_SEED = flags.DEFINE_integer(
    'seed', reuse.FIRST_SEED, 'Seed of the first image of each class to sample; by default one '
    'that no run reaches.', 0, 2**31
)
_WHAT = flags.DEFINE_enum(
    'what', 'classifier', modes.EXPORTS,
    'What to export. classifier: one file, of StableHLO. tfds: the synthetic images as a set of '
    'TensorFlow Datasets, in array_record. splits: a CSV of which image is in which split.',
)
_GUIDANCE = flags.DEFINE_float('guidance', None, "The guidance scale; default the run's.")
_DISTRIBUTED = flags.DEFINE_bool(
    'distributed', None, 'Join the processes that JAX detects (Cloud TPU, Kubernetes); SLURM and '
    'Open MPI are joined without it.'
)
_COORDINATOR = flags.DEFINE_string(
    'coordinator_address', None, "Where JAX detects no cluster: host:port of process 0."
)
_PROCESSES = flags.DEFINE_integer('num_processes', None, 'As above: how many there are.')
_PROCESS = flags.DEFINE_integer('process_id', None, 'As above: which of them this is, from 0.')


def run(config, workdir, command, rerun=False, shared=None):
    """The experiment: data, judge, generator, synthesis, a classifier an arm and seed, report.

    `stage.run` does a stage, or finds it done, and gives its folder and its digest, which those
    that build on it name in `after`.

    Args:
        config: whole and frozen. workdir: the run's folder.
        command: that does this run again, for its report.
        rerun: do again what other settings or code have made, rather than refuse.
        shared: of a sweep, where its runs keep what they have in common.
    """
    stage = stages.Runner(
        workdir, rerun=rerun, shared=shared,
        begin=lambda works: provenance.write_config(workdir, config, works),
    )
    with guard.mistakes():
        folder, data = stage.run(
            'data', lambda out: preparing.prepare_data(out, config), alone=True,
            guarded=preparing.GUARDED, **preparing.depends(config, workdir),
        )
        # of the images, however they came there, and of the copies among them
        images, copies = (disk.digest(folder / name) for name in preparing.GUARDED)
        parts = cache.load(folder)
        plan = synthesizing.fill_plan(config, parts)
        runs.refuse_leaks(config, folder)

    drawn = images  # the digest of what an arm with synthetic images builds on
    trained = {  # seed by seed, so that a run cut short has whole pairs of arms
        (arm, seed): classifying.depends(config, parts, arm, seed)
        for seed, arm in itertools.product(arms.seeds(config.classifier), config.arms)
    }

    def refuse_changed(synthetic, after):
        for (arm, seed), depends in trained.items():
            if arms.ARMS[arm].synthetic == synthetic:
                stage.refuse_changed(arms.stage(arm, seed), after=[after], **depends)

    refuse_changed(synthetic=False, after=images)  # before the hours of stages it does not need
    synthetic_folder = None
    if any(arms.ARMS[arm].synthetic for arm in config.arms):
        judge_folder, judge = stage.run(
            'judge', lambda out: judging.train_judge(out, config, parts),
            after=[images], **judging.depends(config),
        )
        watched = generating.chooses(config)  # else its samples are only looked at
        generator_folder, generator = stage.run(
            'generator',
            lambda out: generating.train_generator(out, config, parts, judge_folder),
            after=[images, *([judge, copies] if watched else [])], **generating.depends(config),
        )
        synthetic_folder, drawn = stage.run(
            'synthetic',
            lambda out: synthesizing.make_images(
                out, config, parts, plan, generator_folder, judge_folder),
            after=[judge, generator, copies], **synthesizing.depends(config),
        )
        with guard.mistakes():
            synthesizing.require_some(synthetic_folder)

    @functools.cache
    def synthetic():  # a finished run needs none of them
        return synthetic_folder and synthesizing.read_synthetic(synthetic_folder)

    refuse_changed(synthetic=True, after=drawn)  # before any classifier is trained
    classifiers = []
    for (arm, seed), depends in trained.items():
        _, classifier = stage.run(
            arms.stage(arm, seed),
            lambda out, arm=arm, seed=seed: classifying.train_and_test_classifier(
                out, config, parts, synthetic(), arm, seed),
            after=[drawn if arms.ARMS[arm].synthetic else images], **depends,
        )
        classifiers.append(classifier)

    folder, _ = stage.run(
        'report',
        lambda out: reporting.write(
            out, config, parts, synthetic(), stage.folders, stage.seconds, command),
        after=[data, drawn, *classifiers], cheap=True, alone=True,
        **reporting.depends(config, trained),
    )
    processes.on_main(stage.close)
    reporting.tell(folder)
    if not stage.worked:
        say('Nothing to do: this run was complete.')
    say(f'Report: {folder / "index.html"}')


def settings():
    """(config, its name) as the command line says, not yet frozen."""
    if _CONFIG.value is None:
        raise ValueError('no --config; try --config=configs/augmented.py')
    path = pathlib.PurePath(config_flags.get_config_filename(flags.FLAGS['config']))
    if not pathlib.Path(file := f'{path}'.partition(':')[0]).is_file():
        raise ValueError(
            f'--config: there is no {file}; try configs/augmented.py or original.py (~ is not read '
            'here, and : begins the variant)'
        )
    config = _CONFIG.value
    require_fields(config)
    for field in LISTS:  # --config.arms=a,b is one string
        names = ','.join(map(str, config[field])).split(',')
        config[field] = tuple(name.strip() for name in names if name.strip())
    for part in (config.generator, config.classifier):
        part.init_from = absolute(part.init_from)
    return config, path.name.replace('.py', '').replace(':', '-')


def main(argv):
    with guard.mistakes():
        logging.set_verbosity(logging.WARNING)  # orbax and jax log every save
        if isinstance(sys.stdout, io.TextIOWrapper):  # ± and what else a log in ASCII lacks
            sys.stdout.reconfigure(errors='replace')
        if len(argv) > 1:
            raise ValueError(
                f'stray argument {argv[1]!r}; fields are set as --config.KEY=VALUE, and a flag '
                'takes one word'
            )
        modes.check_flags(_MODE.value, [one for one in flags.FLAGS if flags.FLAGS[one].present])
        if _MODE.value in modes.MODES:
            with parallel.memory_errors('give it fewer images at a time'):
                modes.use(
                    _MODE.value, _CHECKPOINT.value, out=_OUT.value, images=_IMAGES.value,
                    split=_SPLIT.value, views=_VIEWS.value,
                    predictions=_PREDICTIONS.value, classes=_CLASSES.value,
                    count=_COUNT.value, seed=_SEED.value, guidance=_GUIDANCE.value,
                    what=_WHAT.value,
                )
            return
        config, name = settings()
        given = config_flags.get_override_values(flags.FLAGS['config'])
        given |= {field: config[field] for field in LISTS if field in given}
        points, chosen = sweeps.choose(_SWEEP.value, _SWEEP_INDEX.value)
        if _SWEEP_LIST.value and not _SWEEP.value:
            raise ValueError('--sweep_list needs --sweep')
        if _SWEEP_LIST.value:
            print('\n'.join(sweeps.commands(sys.argv, _SWEEP.value, points)))
            return
        parallel.set_up(config.cpu_devices)
        if _MODE.value == 'run':
            processes.join(
                detect=_DISTRIBUTED.value, coordinator_address=_COORDINATOR.value,
                num_processes=_PROCESSES.value, process_id=_PROCESS.value,
            )
        say(f'On {parallel.describe()}')
        if _MODE.value == 'doctor':
            doctor.examine(config, _WORKDIR.value or 'runs/mine', given, argv[0])
            return
        configs = [sweeps.apply(config, point) for point in points]
    with processes.ending_together(), loop.stopping():
        if _SWEEP.value:
            name = f'{name}-{pathlib.PurePath(_SWEEP.value).stem}'
        workdir = pathlib.Path(os.path.expanduser(_WORKDIR.value or f'runs/{name}'))
        command = sweeps.command(sys.argv)
        with guard.mistakes():  # a ValueError is the user's until something is computed
            # process 0's word: others of NFS would keep in mind for a while what is not there yet
            processes.on_main(lambda: place.check(workdir, configs, bool(_SWEEP.value)))
            for line in preparing.choose_settings(configs, points, given):
                say(line)
            configs = [ml_collections.FrozenConfigDict(one) for one in configs]
            processes.require_same(provenance.in_common(configs))
            for index, one in enumerate(configs):
                with sweeps.naming(index if _SWEEP.value else None):
                    check(one, parallel.device_count())
        with guard.refusals():
            if _SWEEP.value:
                sweeping.run_all(run, configs, points, chosen, workdir, command)
            else:
                with guard.at_work(workdir, configs[0]):
                    run(configs[0], workdir, command, _RERUN.value)


def parse(argv):
    with guard.flag_mistakes():
        return flags.FLAGS(argv)


if __name__ == '__main__':
    gc.freeze()  # nor is there any among what they have made
    gc.enable()
    app.run(main, flags_parser=parse)
