import io

import numpy as np
import pytest
from PIL import Image

from eval import figures
from train.arms import ARMS

NAMES = ['<b>&"x', '$not_math', 'a' * 60]
COUNTS = np.array([5, 40, 12])


def opened(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.format == 'PNG'
    return image


@pytest.mark.parametrize('png', [
    lambda: figures.class_counts(NAMES, COUNTS),
    lambda: figures.class_counts(NAMES, COUNTS, 40 - COUNTS),
    lambda: figures.per_class_f1(NAMES, COUNTS, {'original': np.zeros(3), 'augmented': np.ones(3)}),
    lambda: figures.confusion_matrices(NAMES, COUNTS, {'original': np.zeros((3, 3), int),
                                                       'augmented': np.eye(3)}),
    lambda: figures.generator_curve([[{'step': i, 'loss': 1 / (i + 1)} for i in range(90)]
                                     + [{'step': 50, 'val_loss': 0.1}]]),
    lambda: figures.generator_curve([[{'step': 1, 'loss': float('nan')}], []]),
    lambda: figures.classifier_curves(
        {'original': [[{'step': 1, 'loss': 2.0}, {'step': 1, 'val_loss': 2.1, 'val_accuracy': 0.2}],
                      []]}),
    lambda: figures.reliability({arm: {'images': np.array([0, 30, 5]), 'accuracy': np.ones(3),
                                       'confidence': np.ones(3)} for arm in ('$a', 'b')}),
], ids=['counts', 'counts-synthetic', 'f1', 'confusion', 'generator', 'generator-nan', 'curves',
        'reliability'])
def test_figures_are_pictures_of_readable_size(png):
    width, height = opened(png()).size
    assert 400 < width < 2000 and 100 < height < 1500


def test_every_arm_has_a_colour_of_its_own():
    assert len(set(figures.COLORS)) >= len(ARMS)


def test_a_figure_grows_with_the_classes():
    names = [f'class {i}' for i in range(20)]
    small = opened(figures.class_counts(names[:5], np.arange(5)))
    large = opened(figures.class_counts(names, np.arange(20)))
    assert large.height > small.height + 15 * 12


def test_no_more_classes_are_labelled_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(figures, '_png', lambda figure, **_: figure.axes[0])
    for count, labelled in ((3, 3), (figures.MOST_LABELS, 160), (figures.MOST_LABELS + 1, 81)):
        names = [f'class {i}' for i in range(count)]
        axes = figures.confusion_matrices(names, np.arange(count), {'a': np.eye(count)})
        shown = [label.get_text() for label in axes.get_xticklabels()]
        assert len(shown) == labelled and shown[1] == names[-1 - (count > figures.MOST_LABELS) - 1]


def test_class_names_have_the_size_that_is_asked_for():
    from matplotlib.figure import Figure

    for names in (['ant', 'bee'], ['лев', 'мышь']):
        axes = Figure().subplots()
        axes.set_yticks(range(2), names, **figures._plain(names, 6.0))
        assert [text.get_fontsize() for text in axes.get_yticklabels()] == [6.0, 6.0]


def test_by_count_is_stable():
    assert figures.by_count([3, 9, 3, 1]).tolist() == [1, 0, 2, 3]
