"""The report's charts: arrays in, PNG bytes out. No files, no pyplot, no global state.

Colours: Okabe and Ito's palette, which readers with any colour vision can tell apart.
"""

import io
import math
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from eval import fonts

COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#882255')
GREY = '#6b6b6b'
MOST_LABELS = 160  # of a confusion matrix: more would lie on each other


def class_counts(class_names: Sequence[str], real: np.ndarray,
                 synthetic: np.ndarray | None = None) -> bytes:
    """Training images of each class [C], real and synthetic stacked, largest real class on top."""
    order = by_count(real)
    real = np.asarray(real)[order]
    figure = _figure(7.0, 1.0 + 0.16 * len(order))
    axes = figure.subplots()
    axes.barh(range(len(order)), real, color=COLORS[0], label=f'real ({real.sum():,})')
    if synthetic is not None:
        added = np.asarray(synthetic)[order]
        axes.barh(range(len(order)), added, left=real, color=COLORS[1], hatch='///',
                  edgecolor='white', linewidth=0, label=f'synthetic ({added.sum():,})')
    _class_rows(axes, shortened(class_names, order))
    axes.set_xlabel('training images')
    _legend(figure, axes)
    return _png(figure)


def generator_curve(runs: Sequence[Sequence[Mapping]]) -> bytes:
    """Loss of the diffusion model by optimizer step, of training batches and validation images.

    Args: runs: rows with `step` and `loss` or `val_loss`.
    """
    figure = _figure(7.0, 3.4)
    axes = figure.subplots()
    for rows in runs:
        steps, loss = _series(rows, 'loss')
        axes.plot(steps, loss, color=COLORS[0], alpha=0.25, linewidth=0.7)
        axes.plot(*_smooth(steps, loss), color=COLORS[0], linewidth=1.4)
        axes.plot(*_series(rows, 'val_loss'), color=COLORS[1], linewidth=1.4)
    axes.legend(handles=[_line(color=COLORS[0], alpha=0.4, label='training, logged'),
                         _line(color=COLORS[0], label='training, averaged'),
                         _line(color=COLORS[1], label='validation')], frameon=False)
    losses = np.concatenate([_series(rows, name)[1] for rows in runs
                             for name in ('loss', 'val_loss')])
    if (losses[np.isfinite(losses)] > 0).all():
        axes.set_yscale('log')
    _loss_axes(axes)
    return _png(figure)


def classifier_curves(arms: Mapping[str, Sequence[Sequence[Mapping]]]) -> bytes:
    """Training (dotted, averaged) and validation (solid) loss of each arm; one thin line a seed.

    Args: arms: name -> one list of rows per seed; rows hold `step` and `loss` or `val_loss`.
    """
    figure = _figure(7.0, 4.0)
    axes = figure.subplots()
    handles = []
    for color, (arm, runs) in zip(_colors(arms), arms.items()):
        for rows in runs:
            axes.plot(*_smooth(*_series(rows, 'loss'), bins=40), ':', color=color, linewidth=1)
            axes.plot(*_series(rows, 'val_loss'), color=color, linewidth=1)
        handles.append(_line(color=color, label=arm))
    handles += [_line(color=GREY, label='validation'),
                _line(color=GREY, linestyle=':', label='training')]
    _loss_axes(axes)
    _legend(figure, axes, handles=handles)
    return _png(figure)


def per_class_f1(class_names: Sequence[str], train_counts: np.ndarray,
                 f1: Mapping[str, Sequence[float] | np.ndarray]) -> bytes:
    """F1 of each class under each arm as joined dots, largest training class on top.

    Args: train_counts: [C]; f1: arm -> [C] in [0, 1], one to three arms; NaN has no dot.
    """
    order = by_count(train_counts)
    rows = np.arange(len(order))
    values = 100 * np.stack([np.asarray(value)[order] for value in f1.values()])  # [arms, C], %
    figure = _figure(7.0, 1.2 + 0.2 * len(order))
    axes = figure.subplots()
    axes.hlines(rows, values.min(0), values.max(0), color='#b0b0b0', linewidth=1.5, zorder=1)
    sizes = 46 / np.arange(1, len(f1) + 1)  # of equal values the later one lies on the earlier one
    for color, marker, size, arm, value in zip(_colors(f1), 'oDs^vP', sizes, f1, values):
        axes.scatter(value, rows, size, color=color, marker=marker, label=arm, zorder=2)
    labels = [f'{name}  ({train_counts[i]:,})'
              for name, i in zip(shortened(class_names, order), order)]
    _class_rows(axes, labels)
    axes.grid(axis='y', color='#efefef')
    axes.set_xlim(-2, 102)
    axes.set_xlabel('F1 on the test set in %')
    axes.set_ylabel('class (real training images)')
    _legend(figure, axes)
    return _png(figure)


def confusion_matrices(class_names: Sequence[str], train_counts: np.ndarray,
                       confusion: Mapping[str, np.ndarray]) -> bytes:
    """Share of each true class (row) predicted as each class (column), one panel an arm.

    Args: confusion: arm -> counts [C, C]. Classes run from the largest training class down.
    """
    order = by_count(train_counts)
    side = float(np.clip(0.13 * len(order), 3.6, 9.0))
    # Compressed, because the panels are square; the root makes rare confusions visible.
    figure = _figure(2 + side * len(confusion), side + 2, 'compressed')
    norm = _root()
    panels = figure.subplots(1, len(confusion), squeeze=False, sharey=True)[0]
    for axes, (arm, counts) in zip(panels, confusion.items()):
        counts = np.asarray(counts, np.float64)[np.ix_(order, order)]
        share = counts / np.maximum(counts.sum(1, keepdims=True), 1e-12)
        image = axes.imshow(share, cmap='BuPu', norm=norm, interpolation='nearest')
        size = float(np.clip(72 * side / len(order) * 0.62, 4, 8))
        every = math.ceil(len(order) / MOST_LABELS)
        ticks = range(0, len(order), every)
        names = shortened(class_names, order)[::every]
        style = _plain(names, size)
        axes.set_xticks(ticks, names, rotation=90, **style)
        axes.set_yticks(ticks, names, **style)
        axes.set_title(arm, fontsize=10, parse_math=False)
        axes.set_xlabel('predicted class')
    panels[0].set_ylabel('true class')
    figure.colorbar(image, ax=list(panels), label='share of the true class', shrink=0.8,
                    ticks=[0, 0.05, 0.2, 0.5, 1])
    return _png(figure, dpi=120)


def reliability(arms: Mapping[str, Mapping[str, np.ndarray]]) -> bytes:
    """Accuracy by confidence, and below it the share of the images in each bin; one line an arm.

    Args: arms: name -> `metrics.reliability`. Bins of under 10 images have no dot.
    """
    figure = _figure(7.0, 5.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=':', label='calibrated')
    for color, marker, (arm, found) in zip(_colors(arms), 'oDs^vP', arms.items()):
        images = np.asarray(found['images'])
        filled = images >= 10
        upper.plot(found['confidence'][filled], found['accuracy'][filled], color=color,
                   marker=marker, markersize=4.5, linewidth=1.4, label=arm)
        lower.stairs(images / max(images.sum(), 1), np.linspace(0, 1, len(images) + 1),
                     color=color, linewidth=1.4)
    upper.set(ylabel='share of right predictions', xlim=(0, 1), ylim=(0, 1))
    lower.set(ylabel='share of images', xlabel='confidence: the top probability')
    for axes in (upper, lower):
        axes.grid(color='#e4e4e4')
    _legend(figure, upper)
    return _png(figure)


def by_count(train_counts: np.ndarray) -> np.ndarray:
    """Class indices from the most to the fewest training images; ties in class order."""
    return np.argsort(-np.asarray(train_counts), kind='stable')


def shortened(class_names: Sequence[str], order: Iterable[int]) -> list[str]:
    """The names of these classes, each cut to what a label has room for."""
    shown = (str(class_names[i]) for i in order)
    return [name if len(name) <= 24 else name[:23] + '…' for name in shown]


def _colors(arms: Collection) -> list[str]:
    return [COLORS[i % len(COLORS)] for i in range(len(arms))]


def _series(rows: Sequence[Mapping], key: str) -> tuple[np.ndarray, np.ndarray]:
    found = [(row['step'], row[key]) for row in rows if row.get(key) is not None]
    steps, values = np.array(found, np.float64).reshape(-1, 2).T
    return steps, values


def _smooth(steps: np.ndarray, values: np.ndarray, bins: int = 60) -> tuple[np.ndarray, ...]:
    """Means over at most `bins` stretches of equal length: a batch's loss is mostly noise."""
    groups = np.array_split(np.arange(len(steps)), min(bins, max(1, len(steps))))
    return tuple(np.array([series[i].mean() for i in groups if len(i)])
                 for series in (steps, values))


def _class_rows(axes, labels: Sequence[str]):
    axes.set_yticks(range(len(labels)), labels, **_plain(labels, 7.5))
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis='x', color='#e0e0e0')
    axes.set_axisbelow(True)
    axes.tick_params(axis='x', labeltop=True)


def _plain(names: Sequence[str], size: float) -> dict:
    """How names are written, sign by sign, `$` too; size in points, after the font's."""
    return {'font': Path(fonts.covering(names)), 'fontsize': size, 'parse_math': False}


def _loss_axes(axes):
    axes.set_xlabel('optimizer step')
    axes.set_ylabel('loss')
    axes.grid(color='#e4e4e4')


def _figure(width: float, height: float, layout='constrained'):
    # here, as it takes half a second, which only what draws has to wait for
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


def _root():
    """The square root of values in [0, 1], as a colour scale."""
    from matplotlib.colors import PowerNorm

    return PowerNorm(0.5, vmin=0, vmax=1)


def _line(**style):
    """An entry of a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **style)


def _legend(figure, axes, handles=None):
    handles = handles or axes.get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc='outside upper left', ncols=5, frameon=False, fontsize=9)


def _png(figure, dpi: int = 110) -> bytes:
    for axes in figure.axes:
        axes.spines[['top', 'right']].set_visible(False)
    buffer = io.BytesIO()
    with warnings.catch_warnings():  # of signs of class names that no font has, one by one
        warnings.filterwarnings('ignore', message='Glyph .* missing')
        figure.savefig(buffer, format='png', dpi=dpi, bbox_inches='tight')
    return buffer.getvalue()
