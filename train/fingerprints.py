"""What a stage depends on, and a digest of it: settings, the stages it builds on, its code.

Of code, comments and docstrings do not count, nor do settings that change no result.
"""

import ast
import functools
import hashlib
import io
import itertools
import json
import os
import pathlib
import tokenize

from train import parallel

HARMLESS = ('save_every', 'max_skipped_steps', 'remat')  # settings that change no result
# Of a generator's settings those that say what is seen of it, by which it may be chosen.
WATCH = 'sample_every', 'sample_size', 'max_copy_rate', 'validate_every', 'log_every'
_ROOT = pathlib.Path(__file__).resolve().parent.parent
_PACKAGES = 'configs', 'data', 'eval', 'generation', 'models', 'train'
_TEXTS = ('.html', '.md')  # of pages, in folders of templates
_DOCUMENTED = ast.Module, ast.ClassDef, ast.FunctionDef


def of(reads, after, code):
    """(what a stage depends on, as JSON has it; its digest)."""
    found = {'reads': reads, 'after': list(after), 'code': code_digest(code, own_code())}
    found = json.loads(json.dumps(found, sort_keys=True, default=lambda config: config.to_dict()))
    return found, _digest(json.dumps(found))


def reads(settings, networks, network):
    """{field: value} of a model's settings on which what it becomes depends.

    Not those of other networks; of `dtype` what it is on this hardware.

    Args:
        settings: a frozen `config.generator` or `config.classifier`.
        networks: {name: (network, the fields that not all read)}; network: the name of this one.
    """
    others = {field for _, own in networks.values() for field in own} - {*networks[network][1]}
    fields = {k: v for k, v in settings.to_dict().items() if k not in others.union(HARMLESS)}
    return fields | {'dtype': parallel.compute_dtype(settings.dtype).name}


@functools.cache
def own_code():
    """`read_code` of this project, once: as it was imported, whatever is edited meanwhile."""
    return read_code(_ROOT / package for package in _PACKAGES)


def read_code(folders):
    """{file: its text} of sources in `folders`; of Python no comments, docstrings, empty lines.

    Not what an editor hides there, nor texts that lie beside a user's images.
    """
    texts = {}
    for file in sorted(itertools.chain(*map(_shown, folders))):
        if file.suffix == '.py' or file.suffix in _TEXTS and file.parent.name == 'templates':
            text = file.read_text('utf-8')
            texts[file] = _bare(text) if file.suffix == '.py' else text
    return texts


def _shown(folder):
    """Its files, also deeper in it, but for what is hidden."""
    for file in folder.rglob('*.*'):
        if not any(part.startswith('.') for part in file.relative_to(folder).parts):
            yield file


def _bare(source):
    """Its lines, not parsed: of another version of Python a tree is another."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node):
            text = node.body[0]
            if text.lineno > getattr(node, 'lineno', 0):  # below the line of the def
                for row in range(text.lineno - 1, text.end_lineno or text.lineno):
                    lines[row] = ''
    return '\n'.join(line.rstrip() for line in lines if line.strip())


def code_digest(paths, code):
    """A digest of the files and packages `paths`, relative to the repository, in `read_code`'s."""
    texts = []
    for path in sorted(paths):
        path = _ROOT / path
        own = f'{path}', f'{path}{os.sep}'  # strings: of paths these are a quarter of a second
        found = [text for file, text in code.items()
                 if f'{file}' == own[0] or f'{file}'.startswith(own[1])]
        if not found:
            raise FileNotFoundError(f'{path} is no source of this project')
        texts += found
    return _digest('\n'.join(texts))


def _digest(text):
    return hashlib.sha256(text.encode()).hexdigest()
