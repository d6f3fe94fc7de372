import pathlib

import pytest

from train import fingerprints

CODE = '''
def f(x):
    """Doc."""
    return x + 1  # why
'''


def test_comments_and_docstrings_are_no_code(tmp_path):
    file = tmp_path / 'module.py'

    def digest(text):
        file.write_text(text)
        return fingerprints.code_digest([str(file)], fingerprints.read_code([tmp_path]))

    first = digest(CODE)
    same = [
        CODE.replace('Doc.', 'Other.'), CODE.replace('    """Doc."""\n', ''),
        '"""Module."""' + CODE, CODE.replace('  # why', ''),
        CODE.replace('    return', '\n    return'), '# head\n\n' + CODE + '\n\n',
    ]
    assert {digest(text) for text in same} == {first}
    one_line = 'def g(): "Doc."; return 1\n'
    different = [one_line, one_line.replace('1', '2'), CODE.replace('1', '2'),
                 CODE.replace('f(x)', 'g(x)'), CODE + 'f(1)\n',
                 CODE.replace('return', 'yield'), CODE.replace('+ 1', "+ '''1'''")]
    digests = {digest(text) for text in different}
    assert len(digests) == len(different) and first not in digests


def test_a_template_is_code(tmp_path):
    page, beside = tmp_path / 'templates' / 'page.html', tmp_path / 'images' / 'README.md'
    for file in (page, beside, tmp_path / '.#page.py', tmp_path / '.saved' / 'page.py'):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b'\xe9 (')  # neither UTF-8 nor Python
    page.write_text('<p>1</p>')
    before = fingerprints.code_digest([str(tmp_path)], fingerprints.read_code([tmp_path]))
    page.write_text('<p>2</p>')
    assert fingerprints.code_digest([str(tmp_path)], fingerprints.read_code([tmp_path])) != before


def test_code_is_found_by_package_and_by_file():
    root = pathlib.Path(fingerprints.__file__).parent.parent

    def digest(*paths):
        return fingerprints.code_digest(paths, fingerprints.own_code())

    package, file, other = digest('generation'), digest('generation/export.py'), digest('data')
    assert len({package, file, other, digest()}) == 4
    assert digest('generation', 'eval') == digest('eval', 'generation')
    assert digest(str(root / 'generation')) == package
    with pytest.raises(FileNotFoundError, match='generation/none.py'):
        digest('generation/none.py')
