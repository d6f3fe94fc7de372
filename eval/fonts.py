"""The font that names are written in: the figures' own, or another that has their signs."""

import functools
import string
from collections.abc import Iterable

from data.glyphs import FONT  # DejaVu Sans: Latin, Greek, Cyrillic, Arabic, Hebrew, ...

_ONLY_FRAMES = 'last resort'  # fonts whose every sign is a frame with its code


def covering(texts: Iterable[str]) -> str:
    """The path of a font for these texts: `FONT` unless installed ones lack fewer of their signs.

    Of those that lack the fewest the most regular. A sign that it lacks is drawn as a frame.
    """
    signs = frozenset(''.join(texts)) - {'\n'}
    if ''.join(signs).isascii():
        return FONT
    # what stands beside the names, such as 'synthetic', is Latin, which some fonts lack
    return _covering(signs | {*string.ascii_letters, *string.digits})


@functools.lru_cache(16)
def _covering(signs: frozenset[str]) -> str:
    if not (fewest := _lacking(FONT, signs)):
        return FONT
    from matplotlib.font_manager import fontManager  # takes half a second

    found = FONT
    fonts = sorted(fontManager.ttflist, key=lambda font: (
        font.style != 'normal', font.stretch != 'normal',
        font.weight not in (400, 'normal', 'regular'), font.fname))
    for font in fonts:
        if _ONLY_FRAMES not in font.name.lower().lstrip('.'):
            lacking = _lacking(font.fname, signs)
            if lacking < fewest:
                found, fewest = font.fname, lacking
    return found


def _lacking(path: str, signs: frozenset[str]) -> int:
    from matplotlib.ft2font import FT2Font

    try:
        return len({ord(sign) for sign in signs}.difference(FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):  # gone since matplotlib listed it, or of a kind it cannot read
        return len(signs)
