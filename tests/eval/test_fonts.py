import string

import numpy as np
import pytest
from matplotlib.ft2font import FT2Font

from data.glyphs import FONT
from eval import figures, fonts, sheets

CIRCLED = 'Ⓐ'  # a letter that DejaVu Sans lacks and STIX has, which matplotlib brings
UNKNOWN = '\u0378', '\u0379'  # not assigned: no font has them
IMAGES, LABELS = np.zeros((2, 4, 4, 3), np.uint8), np.arange(2)

PAGES = {
    'class counts': lambda names: figures.class_counts(names, np.array([2, 1])),
    'F1 by class': lambda names: figures.per_class_f1(names, [2, 1], {'original': [0.5, 1]}),
    'confusion': lambda names: figures.confusion_matrices(names, [2, 1], {'original': np.eye(2)}),
    'a sheet': lambda names: sheets.sheet(IMAGES, LABELS, IMAGES, LABELS, names),
    'copies': lambda names: sheets.copies(IMAGES, np.stack([IMAGES] * 2, axis=1), [1, 1],
                                          ['pixels'] * 2, names, [True, False]),
    'named rows': lambda names: sheets.named({names[0]: [(names[1], IMAGES[0])]})}


def test_names_are_in_the_figures_own_font_where_it_has_their_signs():
    assert fonts.covering([]) == fonts.covering([string.printable]) == FONT
    assert fonts.covering(['Zürich', 'кот\nγάτα']) == FONT


def test_signs_that_it_lacks_are_in_an_installed_font_that_has_them():
    path = fonts.covering(['cat', CIRCLED])
    assert path != FONT and ord(CIRCLED) in FT2Font(path).get_charmap()
    assert 'last' not in path.lower()  # matplotlib's own, whose every sign is a frame


def test_where_no_font_has_a_sign_the_figures_own_draws_a_frame():
    assert fonts.covering(UNKNOWN) == FONT


@pytest.mark.parametrize('page', PAGES)
def test_charts_and_pages_are_written_in_it(page):
    one, another = (PAGES[page](['cat', sign]) for sign in UNKNOWN)
    assert one == another  # frames are all alike
    assert PAGES[page](['cat', CIRCLED]) != one
