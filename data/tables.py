"""Labels in a table: a CSV with the file and the class of each image, in any folders."""

import csv
import functools
import itertools
import unicodedata

from data import folders
from data.decode import EncodedSource

FILE = 'file', 'filename', 'file_name', 'path', 'image'  # names of the column, in any case
CLASS = 'class', 'class_name', 'label', 'category'
GROUP = 'group'  # what no two splits may share, such as a patient

LOOKED = 100  # files of which one must be there, or the paths are wrong


def is_table(path):
    """Whether a path is one of a table, by its name."""
    return str(path).lower().endswith('.csv')


def open_table(path, image_size, class_names=None):
    """The images that a CSV names, read where they lie.

    One column names the files, relative to the CSV's folder or absolute, one the classes, and one
    may name groups of images; further columns do not matter. They are told by their names, of FILE,
    CLASS and GROUP.

    Args:
        path: of the CSV, with commas, semicolons or tabs.
        image_size: side S of the square images in pixels.
        class_names: the classes to number by; None takes those of the table in sorted order.

    Raises:
        FileNotFoundError: there is no such CSV.
        ValueError: no such columns, no images, or a class that `class_names` lacks.
    """
    path = folders.existing(path)
    labelled = _read(path)
    ignored = tuple(file for file in labelled if not folders.is_image(file))
    classes: dict[str, list[str]] = {}
    for file, (name, _) in labelled.items():
        if folders.is_image(file):
            classes.setdefault(name, []).append(file)
    if not classes:
        raise ValueError(f'{path}: names no {" ".join(folders.SUFFIXES)} files')
    if not _stands(path, labelled):
        raise ValueError(
            f'{path}: there is no {path.parent / next(iter(labelled))}; its paths begin at its own '
            'folder'
        )
    class_names = class_names or tuple(sorted(classes))
    files, labels = folders.numbered(path, classes, class_names)
    read = functools.partial(folders.read_member, path.parent, None, files)
    groups = tuple(labelled[file][1] for file in files)
    return EncodedSource(
        class_names, labels, files, image_size, read, ignored, groups if any(groups) else ())


def is_gone(path):
    """Whether a table, or what it names, is there no more."""
    return not path.exists() or not _stands(path, (file for _, file, *_ in _cells(path)))


def _stands(path, listed):
    return any(folders.is_there(path.parent / file) for file in itertools.islice(listed, LOOKED))


def files(path):
    """The paths of all files that a table names, as it names them."""
    return list(_read(path))


def _read(path):
    """{file: (class, group)} in the order of the table."""
    found: dict[str, tuple[str, str]] = {}
    for line, file, *own in _cells(path):
        if not file or not own[0]:
            raise ValueError(f'{path}, line {line}: an empty {"class" if file else "file"}')
        for what, here, before in zip(('class', GROUP), own, found.setdefault(file, tuple(own))):
            if here != before:
                raise ValueError(
                    f'{path}, line {line}: {file} is of {what} {here!r} here and {before!r} before')
    return found


def _cells(path):
    """(line, file, class, group) of each row, as they are written for Windows and macOS, too."""
    for line, (file, *own) in read_rows(path, _columns):
        name, group = (unicodedata.normalize('NFC', cell.strip()) for cell in (*own, '')[:2])
        yield line, file.replace('\\', '/'), name, group


def read_rows(path, columns):
    """(number of its line, the cells of some columns) of each row of a CSV.

    Args: columns: its header -> the columns that are wanted; may raise ValueError.

    Raises:
        ValueError, with path and line: it cannot be read, or of `columns`.
    """
    line = 1
    with path.open(newline='', encoding='utf-8-sig') as table:
        try:
            head = table.readline()
            table.seek(0)
            rows = csv.DictReader(table, delimiter=max(',;\t', key=head.count))
            wanted = columns(rows.fieldnames or ())
            for row in rows:
                line = rows.line_num
                if row.get(None):
                    raise ValueError('more cells than columns; put names with commas in quotes')
                yield line, [row[one] or '' for one in wanted]
        except UnicodeDecodeError as error:
            raise ValueError(f'{path} is not in UTF-8 ({error}); save it as CSV UTF-8') from None
        except (ValueError, csv.Error) as error:
            raise ValueError(f'{path}, line {line}: {error}') from None


def _columns(header):
    """The columns of the files, of the classes and, if there is one, of the groups."""
    found = []
    for names in FILE, CLASS, (GROUP,):
        own = [column for column in header if column.strip().lower() in names]
        if len(own) != 1 and (own or GROUP not in names):
            raise ValueError(
                f'needs one column called {" or ".join(names)}, and has {", ".join(header)}')
        found += own
    if parts := [column for column in header if column.strip().lower() == 'split']:
        raise ValueError(
            f'has a column {parts[0]}: make a table of each part and name them as '
            '--config.data.train and --config.data.test, so that none is read for another'
        )
    return found
