"""What is in these images, what is wrong with them, what will it cost, and what to run next."""

import dataclasses
import os
import pathlib
import time

import jax
import ml_collections
import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from configs import augmented, auto, sweeps
from configs.check import check
from configs.default import LISTS, flat
from data import clusters, image_sets, sources, splits
from data.decode import BadImage
from eval import sheets
from eval.formats import plural
from generation import synthesize
from train import classifier, disk, flops, generator, parallel, preparing
from train.arms import any_synthetic
from train.progress import progress, say, show

PRESETS = ('folder', 'auto', 'grocery', 'folder128')
SHOWN = 5
HAVE = 'class has', 'classes have'
RARE = 10  # images of a class, below which a classifier hardly ever names it
TIMED = 5  # steps
GAIN = 8  # points of accuracy, as much as synthetic images gave any photographs, rounded up
SEEDS = 5  # of the expected times, unless the user says otherwise
SIDES = 16, 32, 64, 128  # pixels, of the images in a picture of how they look
PICTURED = 12  # images in it
LONGEST = 7 * 24 * 60  # minutes of a run that anyone would wait for


def examine(config, workdir, given, program):
    """Says all of it, of the images that `config` names, and how to run them into `workdir`.

    Args:
        given: {field: value}, of what is set on the command line.
        program: main.py, as it was called.

    Raises:
        ValueError, FileNotFoundError: the images cannot be used at all, or no preset with `given`.
    """
    with config.unlocked():
        config.data.on_bad_image = 'skip'
    found = preparing.facts(config)
    with progress('images') as update:
        parts = preparing.read_splits(ml_collections.FrozenConfigDict(config), progress=update)
    few = _show_counts(parts, found, config.splits, cut=not config.data.test)
    _show_trouble(parts)
    beside = pathlib.Path(os.path.expanduser(workdir))
    _picture_sizes(config, found.side, beside.with_name(f'{beside.name}_sizes.png'))
    flips = [f'{model}.augment_flip' for model in auto.MODELS]
    if not found.grey and any(given.get(name, True) for name in flips):
        unmirrored = ' '.join(f'--config.{name}=False' for name in flips)
        say('A run mirrors images with colour, in every arm: where a mirrored one is of another '
            f'class, or of none (text, left hands), add {unmirrored}')
    if not splits.keeper(parts.train, config.splits.group_by):
        say('Are there several images of one person, object or day? They must lie in one split: '
            'see config.splits.group_by, or give a table a column group')
    with parallel.memory_errors():
        _show_costs(parts, found, config.arms, given)
    usual = flat(augmented.get_config('auto'))
    flags = {
        name: value for name, value in flat(config).items()
        if name not in ('data.image_size', 'data.on_bad_image') and value != usual[name]
        and name.startswith(('arms', 'data.', 'splits.'))
    }
    flags |= given | ({'data.on_bad_image': 'skip'} if parts.bad_images else {})
    flags |= {name: ','.join(config[name]) for name in LISTS if name in flags}
    auto_config = pathlib.PurePath(program).parent / 'configs' / 'augmented.py'
    words = [program, f'--config={auto_config}:auto', f'--workdir={workdir}']
    say(f'Next:\n  {sweeps.command(words, sweeps.flags(flags))}'.rstrip())
    if few:
        words[2:] = [f'--workdir={workdir}-folds']
        say('or, with every image tested once, in five runs that take five times as long:\n'
            f'  {sweeps.command(words, sweeps.flags(flags))} '
            f'--sweep={auto_config.parent / "sweeps" / "folds.py"}')


def _show_counts(parts, found, asked, cut):
    """Says how many images there are; whether others could be held out, as these show too little.

    Args: asked: config.splits. cut: whether the test set is cut by it.
    """
    counts, order = parts.train_counts, np.argsort(parts.train_counts, kind='stable')
    table = Table(box=box.SIMPLE_HEAD, title='Images')
    for name in ('', 'Train', 'Validation', 'Test'):
        table.add_column(name, justify='right' if name else 'left')
    sizes = [len(getattr(parts, split)) for split in image_sets.SPLITS]
    table.add_row('all', *map(str, sizes))
    tests = np.bincount(parts.test.labels, minlength=len(counts))
    held = np.bincount(parts.validation.labels, minlength=len(counts))
    ends = [('fewest: ', order[:SHOWN]), ('most: ', order[::-1][:SHOWN])]
    for words, rows in ends if len(order) > 2 * SHOWN else [('', order)]:
        for row in rows:
            cells = counts[row], held[row], tests[row]
            table.add_row(Text(words + parts.class_names[row]), *map(str, cells))
    show(table)
    say(
        f'{len(counts)} classes, {counts.min()} to {counts.max()} training images each, imbalance '
        f'factor {counts.max() / counts.min():.1f}; files of about {found.side} pixels'
    )
    if rare := int((counts < RARE).sum()):
        say(f'  {plural(rare, *HAVE)} under {RARE} training images: neither network learns '
            'much of them; more images would')
    if hardly := int(((0 < tests) & (tests < RARE)).sum()):
        say(f'  {plural(hardly, *HAVE)} under {RARE} test images: of each of them alone '
            'nothing can be said')
    groups = clusters.of_test(parts, asked.group_by)
    share = len(parts.validation) / (len(parts.train) + len(parts.validation))
    if share > 2 * asked.validation_fraction:
        say(f'  {share:.0%} of those that are not for the test are for validation, as what belongs '
            'together stays together')
    if not len(parts.test):
        say('  No test images (config.splits.test_fraction=0): nothing will be measured')
        return False
    known = len(parts.test if groups is None else np.unique(groups))
    least = 100 / known**0.5
    of = '' if groups is None else f' of {plural(known, "group")}'
    say(
        f'  {plural(len(parts.test), "test image")}{of}: a difference of less than '
        f'{least:.0f} points will hardly be told from chance'
    )
    if least > GAIN:
        more = ', or hold out more of them (--config.splits.test_fraction=0.5)' if cut else ''
        say(f'  Of gains like those of the photographs in README.md, up to {GAIN} points, expect '
            f'to hear that they cannot be told from chance: find more test images{more}')
    return cut and least > GAIN


def _show_trouble(parts):
    for kind, shown, entries, text in (
        (('unusable image',), len(parts.bad_images), parts.bad_images,
         lambda e: f'{e["name"]}: {e["error"]}'),
        (('group of images that show one picture', 'groups of images that show one picture'),
         SHOWN, sorted(parts.duplicates, key=lambda e: image_sets.DISAGREE not in e['action']),
         lambda e: f'{", ".join(e["names"][:3])}: {e["action"]}'),
    ):
        say(plural(len(entries), *kind))
        for entry in entries[:shown]:
            say(f'  {text(entry)}')
        if len(entries) > shown:
            say(f'  and {len(entries) - shown} more; a run lists them in its folder data/')
    if parts.leaks:
        say(
            f'{len(parts.leaks)} of them lay in two splits, which would have told a test its '
            'answers; a run moves or drops them'
        )
    for line in preparing.warnings(parts):
        say(line)


def _picture_sizes(config, side, path):
    """A PNG of some images, of the rarest classes first, at each of SIDES up to the files' own."""
    rows, sides = {}, [size for size in SIDES if size <= side]
    if config.data.source != 'folder' or len(sides) < 2:
        return
    source, _ = preparing.open_source(config)
    order = np.argsort(np.bincount(source.labels), kind='stable')
    each = max(2, -(-PICTURED // len(order)))
    chosen = np.concatenate([  # of a class spread over its images, which lie in the order of names
        own[np.linspace(0, len(own) - 1, min(each, len(own))).astype(int)]
        for own in (np.flatnonzero(source.labels == label) for label in order)])[:PICTURED]
    for size in sides:
        sized = dataclasses.replace(source, image_size=size)
        rows[f'{size} pixels'] = [(source.class_names[item['label']], item['image'])
                                  for item in sources.read(sized, chosen)
                                  if not isinstance(item, BadImage)]
    if not all(rows.values()):
        return  # none of them can be used, as is said above
    try:
        with disk.atomic_write(path) as aside:
            aside.write_bytes(sheets.named(rows, tile=96))
    except OSError as error:
        say(f'No picture of them at several sizes: {error}')
        return
    say(f'How some look at {", ".join(map(str, sides[:-1]))} and {sides[-1]} pixels: {path}. '
        'Where you cannot tell classes apart, a classifier of that size hardly will')


def _show_costs(parts, found, arms, given):
    """Minutes and memory of each preset: the first is timed, the others go by their FLOPs."""
    seeds = given.get('classifier.seeds', SEEDS)
    title = f'Expected on {parallel.describe()}, {seeds} seeds, {len(arms)} arms'
    table = Table(box=box.SIMPLE_HEAD, title=title)
    for name in ('Preset', 'Side', 'Generator', 'Classifiers', 'In all', 'Memory'):
        table.add_column(name, justify='left' if name == 'Preset' else 'right')
    timed, first, left_out, impossible = {}, None, [], []
    for preset in PRESETS:
        config = augmented.get_config(preset)
        config.classifier.seeds = seeds
        config.update_from_flattened_dict({**given, 'arms': arms})
        if not len(parts.test):
            config.splits.test_fraction = 0.0
        if preset == 'auto':
            auto.apply(config, found, given)
        config = ml_collections.FrozenConfigDict(config)
        try:
            check(config, device_count=1)  # any number of devices can be looked at
        except ValueError as error:
            impossible.append(f':{preset} cannot be run so: {error}')
            continue
        first = first or preset
        times, memory = _cost(config, parts, timed)
        if times[-1] > LONGEST:
            left_out.append(f':{preset}')
            continue
        cells = [*map(_time, times), f'{memory / 1e9:.1f} GB']
        table.add_row(f':{preset}', str(config.data.image_size), *cells)
    if len(impossible) == len(PRESETS):
        raise ValueError(impossible[0])
    if timed:
        show(table)
        say(
            f'An estimate: :{first} is timed, the others go by the number of operations; '
            'for synthesis, of which a third is taken to fail the quality check, too. Other work '
            'on the machine makes it longer.'
        )
    if left_out:
        say(f'{" and ".join(left_out)} would take weeks here: it takes a GPU.')
    for line in impossible:
        say(line)


def _cost(config, parts, timed):
    """((minutes of the generator, of all classifiers, of the run), bytes of memory) by a config.

    Args:
        timed: {model: what `_Work.measure` says}, to which is added what it lacks.
    """
    minutes, memory = {generator: 0}, len(parts.train) * 3 * config.data.image_size**2
    drawing = any_synthetic(config.arms)
    for model in (generator, classifier) if drawing else (classifier,):
        work = _Work(model, config, len(parts.class_names))
        if model not in timed:
            timed[model] = work.measure()
        seconds, size = timed[model]
        minutes[model] = work.steps * seconds * work.flops / 60
        memory = max(memory, work.state_bytes + size * work.flops)
    judge = config.judge.steps / config.classifier.steps  # of a network as large, about
    minutes[classifier] *= len(config.arms) * config.classifier.seeds + judge * drawing
    drawn = _drawn(config, parts) / config.generator.batch_size / 3  # a step has three passes
    draw = minutes[generator] * drawn / config.generator.steps
    return (*minutes.values(), 1.05 * (sum(minutes.values()) + draw)), memory


def _drawn(config, parts):
    """Passes of an image through the generator that the synthesis takes, about."""
    settings = config.synthesis
    wanted = synthesize.fill_plan(parts.train_counts, settings.fill).sum()
    return 1.5 * wanted * settings.steps * (1 if settings.guidance_scale == 1 else 2)


def _time(minutes):
    """A length of time in the unit that fits it."""
    for limit, unit, name in ((120, 1, 'min'), (48 * 60, 60, 'hours'), (np.inf, 24 * 60, 'days')):
        if minutes < limit:
            return f'{minutes / unit:,.0f} {name}'


class _Work:
    """A model's training step by a config: FLOPs of a device, and what they take here."""

    def __init__(self, model, config, num_classes):
        self.name = name = model.__name__.rpartition('.')[2]
        settings, shape = config[name], (config.data.image_size, config.data.image_size, 3)
        network, optimizer, self._step = model.build(settings, num_classes)
        seed = (0,) if model is classifier else ()
        self._initial = model.initial_state(network, optimizer, settings, shape, *seed)
        parts = getattr(settings, 'accumulate', 1)  # any number of devices can be looked at
        size = parts * parallel.round_up(-(-settings.batch_size // parts))
        self._batch = parallel.shard({
            'image': np.zeros((size, *shape), np.uint8), 'label': np.zeros(size, np.int32),
            'weight': np.ones(size, np.float32),
        })
        state = self._initial.shapes()
        self._inputs = state, self._batch
        self.flops, self.steps = flops.count(self._step, *self._inputs), settings.steps
        self.state_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))

    def measure(self):
        """(seconds, bytes of temporary memory) a FLOP of the step."""
        size = self._step.lower(*self._inputs).compile().memory_analysis().temp_size_in_bytes
        state = self._initial.make()
        for i in range(1 + TIMED):
            state, metrics = self._step(state, self._batch)
            if i == 0:  # the first one compiles
                jax.block_until_ready(metrics)
                start = time.perf_counter()
        jax.block_until_ready(metrics)
        seconds = (time.perf_counter() - start) / TIMED
        return seconds / self.flops, parallel.local_device_count() * size / self.flops
