"""What need not be done again: a stage whose fingerprint is unchanged is skipped.

A stage writes into `<name>.unfinished`, which gets its final name when it is whole. Its
fingerprint is a digest of the config keys it read, the stages and files it builds on and the code
it ran. An interrupted stage whose fingerprint is unchanged goes on in the same folder.
"""

import ast
import hashlib
import json
import pathlib
import shutil
import time

from train.progress import say

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_FILE = 'stage.json'


class Runner:
    """Runs the stages of one run folder.

    Attributes:
        seconds: {stage: seconds its work took, now or when it was done}.
        worked: whether any stage had to run.
    """

    def __init__(self, workdir):
        self.workdir = pathlib.Path(workdir)
        self.seconds = {}
        self.worked = False

    def run(self, name, work, *, reads, after=(), code=()):
        """Does work(folder) unless it was done before.

        Args:
            name: the stage's folder, relative to the run's folder.
            work: writes everything into the folder it is given.
            reads: what of the config it reads: sub-configs or JSON data.
            after: digests of the stages it builds on.
            code: source files and packages it runs, relative to the repository.
        Returns:
            (folder, digest).
        """
        final = self.workdir / name
        fingerprint = {'reads': reads, 'after': list(after), 'code': code_digest(code)}
        fingerprint = json.loads(json.dumps(fingerprint, sort_keys=True, default=_plain))
        digest = _digest(json.dumps(fingerprint))
        done = _read(final)
        if done and done['digest'] == digest:
            self.seconds[name] = done['seconds']
            return final, digest

        self.worked = True
        unfinished = final.with_name(final.name + '.unfinished')
        begun = _read(unfinished)
        if begun and begun['digest'] == digest:
            say(f'{name}: going on where it was interrupted')
        else:
            changed = 'its settings, inputs or code changed, doing it again'
            say(f'{name}: {changed if done else "start"}')
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            begun = {'digest': digest, 'seconds': 0.0, **fingerprint}
            _write(unfinished, begun)
        start = time.monotonic()
        try:
            work(unfinished)
        finally:
            begun['seconds'] = round(begun['seconds'] + time.monotonic() - start, 1)
            _write(unfinished, begun)
        if final.exists():
            shutil.rmtree(final)
        unfinished.rename(final)
        self.seconds[name] = begun['seconds']
        say(f'{name}: done in {begun["seconds"]:.0f} s')
        return final, digest


def code_digest(paths):
    """A digest of the Python sources under `paths` that comments and docstrings do not change."""
    texts = []
    for path in sorted(paths):
        path = _ROOT / path
        for file in sorted(path.rglob('*.py')) if path.is_dir() else [path]:
            tree = ast.parse(file.read_text('utf-8'))
            for node in ast.walk(tree):
                body = getattr(node, 'body', None)
                if isinstance(body, list) and body and _is_docstring(body[0]):
                    del body[0]
            texts.append(ast.dump(tree))
    return _digest('\n'.join(texts))


def file_digest(path):
    """A digest of a file's bytes, or of the names, sizes and times of the files in a folder."""
    path = pathlib.Path(path).expanduser()
    if path.is_file():
        with path.open('rb') as file:
            return hashlib.file_digest(file, 'sha256').hexdigest()
    files = sorted(p for p in path.rglob('*') if p.is_file())
    stats = [(str(p.relative_to(path)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return _digest(json.dumps(stats))


def _plain(config):
    return config.to_dict()


def _is_docstring(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def _read(folder):
    try:
        return json.loads((folder / _FILE).read_text('utf-8'))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _write(folder, content):
    aside = folder / (_FILE + '.unfinished')
    aside.write_text(json.dumps(content, indent=1), 'utf-8')
    aside.rename(folder / _FILE)
