"""What finished stages say of themselves: where they lie, of what they were made, and by what."""

import itertools

from configs.default import flat
from train import disk

FILE = 'stage.json'  # in a stage's folder: its fingerprint, and how it was made
FOLDERS = 'stages.json'  # in a run's: where its stages lie
_AND = ' and '  # between what several machines or versions made


def read(folder):
    """The fingerprint in `folder`; None without a whole one of this version."""
    found = disk.read_json(folder / FILE)
    keys = {'digest', 'seconds', 'reads', 'after', 'code'}
    whole = found.keys() >= keys and isinstance(found['reads'], dict)
    return found if whole else None


def places(workdir):
    """{stage: its folder}, in the run's or a shared one, of those done by the run's config."""
    listed = disk.read_json(workdir / FOLDERS)
    found = {name: workdir / str(place) for name, place in listed.items()}
    return {name: folder for name, folder in found.items() if belongs(folder, workdir)}


def belongs(folder, workdir):
    """Whether a stage's folder lies in that of the run, or in what the runs of its sweep share."""
    homes = workdir, workdir / '..' / '..' / 'shared'
    return any(folder.resolve().is_relative_to(home.resolve()) for home in homes)


def inputs(folder):
    """The digests of what the finished stage in `folder` was made of."""
    return (read(folder) or {}).get('after')


def computed(found):
    """By what a run's numbers could differ from those of another of the same settings and images.

    Args: found: the run's `places`.
    Returns: ({'generator.dtype': 'bfloat16', ...} as it was on the run's hardware, {'synthetic',
        'classifiers': digests of the code that made them, sorted}), of its finished stages.
    """
    dtypes, code = {}, {}
    for name, folder in found.items():
        made = read(folder) or {'reads': {}}
        fields = flat(made['reads']).items()
        dtypes |= {field: value for field, value in fields if field.endswith('.dtype')}
        if (kind := name.split('/')[0]) in ('synthetic', 'classifiers'):  # which have all code
            code.setdefault(kind, set()).add(made.get('code'))
    return dtypes, {kind: sorted(map(str, digests)) for kind, digests in code.items()}


def made_by(folders):
    """{'hardware', 'versions'} with which the finished stages in `folders` were made, several
    joined by 'and'; without what one of them, of before this was kept, does not say.
    """
    return joined([read(folder) or {} for folder in folders])


def joined(found):
    """`made_by`, of what stage.json says of some stages or of parts of one."""
    join = lambda values: _AND.join(  # noqa: E731
        dict.fromkeys(itertools.chain(*(value.split(_AND) for value in values))))
    made: dict[str, str | dict[str, str]] = {}
    if all('hardware' in one for one in found):
        made['hardware'] = join(one['hardware'] for one in found)
    if all('versions' in one for one in found):
        names = dict.fromkeys(name for one in found for name in one['versions'])
        made['versions'] = {  # each name is said since some day
            name: join(one['versions'][name] for one in found if name in one['versions'])
            for name in names}
    return made
