"""docs/config.md says of every field what configs/default.py says."""

import re

from configs import default, document

SOURCE = """
def get_config():
    c = ConfigDict()
    # Above.
    c.above = 1
    c.part = p = ConfigDict()
    p.behind = 2  # Behind | it.
    p.one, p.two = 3, 4  # both
    c.part.long = (
        5
    )  # long
    # Above as well.
    p.more = (
        6
    )
    p.none = '# no comment'
    return c


def other():
    x = 1  # no field
"""


def test_the_page_is_current():
    said = document.PAGE.read_text('utf-8')
    assert said == document.page(), 'run `python -m configs.document --write`'


def test_every_field_appears_once():
    fields = re.findall(r'^\| `([^`]+)` \|', document.page(), re.MULTILINE)
    known = default.flat(default.get_config())
    of_judge = [name for name in known if name.startswith('judge.')]
    assert of_judge and sorted(fields) == sorted({*known, 'judge.*'} - {*of_judge})


def test_a_comment_is_the_meaning_of_the_fields_of_its_line_alone():
    assert document.meanings(SOURCE) == {
        'above': 'Above.', 'part.behind': 'Behind | it.', 'part.one': 'both', 'part.two': 'both',
        'part.long': 'long', 'part.more': 'Above as well.', 'part.none': '',
    }
