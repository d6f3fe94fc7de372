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
import os
import pathlib
import sys

from absl import app, flags
from ml_collections import config_flags

from configs import sweeps
from data import cache, image_sets
from train import (
    arms,
    classifying,
    disk,
    doctor,
    generating,
    guard,
    judging,
    launching,
    loop,
    modes,
    parallel,
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

FLAGS = flags.FLAGS

config_flags.DEFINE_config_file(
    'config', None, 'The experiment: configs/augmented.py or configs/original.py, with :variant.'
)
flags.DEFINE_string('workdir', None, "The run's folder; default runs/<config name>.")
flags.DEFINE_bool('rerun', False, 'Do again what other settings or code have made.')
flags.DEFINE_string('sweep', None, 'Many runs, one after another: configs/sweeps/*.py.')
flags.DEFINE_integer('sweep_index', None, 'Only this run of the sweep, from 0.')
flags.DEFINE_bool('sweep_list', False, "Prints the sweep's runs, a command a line.")
flags.DEFINE_enum(
    'mode', 'run', ['run', 'doctor', *modes.MODES],
    'run: the experiment. doctor: what is in the images, and what a run costs. Others need '
    '--checkpoint. predict: classify --images into the CSV --out. evaluate: measure on --images or '
    '--split. compare: set --predictions of other networks beside the arms. sample: draw images '
    'into the folder --out. export: the classifier or the images, as --what says, to --out.',
)
flags.DEFINE_string('checkpoint', None, "A run's folder, or in it classifiers/<arm>[/seed_<n>].")
flags.DEFINE_string(
    'images', None, 'A folder or a zip of images, or one of them; for evaluate also a CSV.'
)
flags.DEFINE_string('out', None, 'Where the result goes; default in the run folder.')
flags.DEFINE_enum('split', 'test', image_sets.SPLITS, "The run's, to evaluate on.")
flags.DEFINE_integer('views', 1, 'Moved views of an image to average, 1 to 10.', 1, 10)
flags.DEFINE_bool(
    'adjust', False, 'For predict, evaluate and export: name rare classes more often, by what the '
    'classifiers would say if all were equally frequent.'
)
flags.DEFINE_list(
    'predictions', [], 'CSV files with the columns file and class, of the test images, to compare.'
)
flags.DEFINE_list('classes', [], 'Classes to sample; default all.')
flags.DEFINE_integer('count', 8, 'Images of each class to sample.', 1)
flags.DEFINE_integer(
    'seed', reuse.FIRST_SEED, 'Seed of the first image of each class to sample; by default one '
    'that no run reaches.', 0, 2**31
)
flags.DEFINE_enum(
    'what', 'classifier', list(modes.EXPORTS),
    'What to export. classifier: one file, of StableHLO. tfds: the synthetic images as a set of '
    'TensorFlow Datasets, in array_record. splits: a CSV of which image is in which split.',
)
flags.DEFINE_float('guidance', None, "The guidance scale; default the run's.")
flags.DEFINE_bool(
    'distributed', None, 'Join the processes that JAX detects (Cloud TPU, Kubernetes); SLURM and '
    'Open MPI are joined without it.'
)
flags.DEFINE_string(
    'coordinator_address', None, 'Where JAX detects no cluster: host:port of process 0.'
)
flags.DEFINE_integer('num_processes', None, 'As above: how many there are.')
flags.DEFINE_integer('process_id', None, 'As above: which of them this is, from 0.')


def run(config, workdir, command, rerun=False, shared=None):
    """The experiment: data, synthetic images, a classifier an arm and seed, report.

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

    trained = classifying.planned(config, parts)
    classifying.refuse_changed(stage, trained, synthetic=False, after=images)  # before hours pass
    synthetic_folder, drawn = None, images  # a folder, and what an arm with its images builds on
    if arms.any_synthetic(config.arms):
        synthetic_folder, drawn = synthesize(stage, config, parts, plan, images, copies)

    @functools.cache
    def synthetic():  # a finished run needs none of them
        return synthetic_folder and synthesizing.read_synthetic(synthetic_folder)

    classifying.refuse_changed(stage, trained, synthetic=True, after=drawn)
    classifiers = []
    for (arm, seed), depends in trained.items():
        _, classifier = stage.run(
            arms.stage(arm, seed),
            lambda out, arm=arm, seed=seed: classifying.train_and_test_classifier(
                out, config, parts, synthetic(), arm, seed),
            after=[drawn if arms.ARMS[arm].synthetic else images], **depends,
        )
        classifiers.append(classifier)
    if len(parts.test):
        stage.run(
            'report',
            lambda out: reporting.write(
                out, config, parts, synthetic(), stage.folders, stage.seconds, command),
            after=[data, drawn, *classifiers], cheap=True, alone=True,
            **reporting.depends(config, trained),
        )
    processes.on_main(stage.close)
    if not stage.worked:
        say('Nothing to do: this run was complete.')
    reporting.tell(config, workdir, stage.folders)


def synthesize(stage, config, parts, plan, images, copies):
    """The stages of an arm with synthetic images: judge, generator, synthesis.

    Args:
        plan: images to be drawn of each class, int [C].
        images, copies: digests of the images of `parts` and of the copies among them.
    Returns:
        (folder, digest) of the synthetic images.
    """
    def train_judge(out):
        synthesizing.require_space(out.parent, parts, plan)  # before the hours of a generator
        judging.train_judge(out, config, parts)

    judge_folder, judge = stage.run(
        'judge', train_judge, after=[images], **judging.depends(config),
    )
    watched = generating.chooses(config)  # else its samples are only looked at
    generator_folder, generator = stage.run(
        'generator', lambda out: generating.train_generator(out, config, parts, judge_folder),
        after=[images, *([judge, copies] if watched else [])], **generating.depends(config),
    )
    folder, drawn = stage.run(
        'synthetic',
        lambda out: synthesizing.make_images(
            out, config, parts, plan, generator_folder, judge_folder),
        after=[judge, generator, copies], **synthesizing.depends(config),
    )
    with guard.mistakes():
        synthesizing.require_some(folder)
    return folder, drawn


def main(argv):
    with guard.mistakes():
        launching.begin(argv)
        modes.check_flags(FLAGS.mode, [name for name in FLAGS if FLAGS[name].present])
        if FLAGS.mode in modes.MODES:
            options = {name: FLAGS[name].value for name in modes.options(FLAGS.mode)}
            modes.use(FLAGS.mode, FLAGS.checkpoint, FLAGS.out, options)
            return
        config, name, given = launching.settings(FLAGS['config'])
        points, chosen = sweeps.choose(FLAGS.sweep, FLAGS.sweep_index, FLAGS.sweep_list)
        if FLAGS.sweep_list:
            print('\n'.join(sweeps.commands(sys.argv, FLAGS.sweep, points)))
            return
        parallel.set_up(config.cpu_devices)
        if FLAGS.mode == 'run':
            processes.join(
                detect=FLAGS.distributed, coordinator_address=FLAGS.coordinator_address,
                num_processes=FLAGS.num_processes, process_id=FLAGS.process_id,
            )
        say(f'On {parallel.describe()}')
        if FLAGS.mode == 'doctor':
            doctor.examine(config, FLAGS.workdir or 'runs/mine', given, argv[0])
            return
        configs = [sweeps.apply(config, point) for point in points]
    with processes.ending_together(), loop.stopping():
        if FLAGS.sweep:
            name = f'{name}-{pathlib.PurePath(FLAGS.sweep).stem}'
        workdir = pathlib.Path(os.path.expanduser(FLAGS.workdir or f'runs/{name}'))
        command = sweeps.command(sys.argv)
        with guard.mistakes():  # a ValueError is the user's until something is computed
            configs = launching.checked(configs, points, given, workdir, sweep=bool(FLAGS.sweep))
        with guard.refusals():
            if FLAGS.sweep:
                sweeping.run_all(run, configs, points, chosen, workdir, command)
            else:
                with guard.at_work(workdir, configs[0]):
                    run(configs[0], workdir, command, FLAGS.rerun)


def parse(argv):
    with guard.flag_mistakes():
        return FLAGS(argv)


if __name__ == '__main__':
    gc.freeze()  # nor is there any among what they have made
    gc.enable()
    app.run(main, flags_parser=parse)
