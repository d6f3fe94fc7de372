import numpy as np
import pytest
from image_files import S, encode, flat, write_tree

from data import decode, sources, tables

FILES = {f'{site}/{day}/{i}.png': encode(flat((40 * i, 0, 0)))
         for site in ('a', 'b') for day in '12' for i in range(3)}
CLASSES = {name: 'fox' if name.endswith('0.png') else 'hare' for name in FILES}


def table(root, rows=None, header='file,class'):
    rows = [f'{name},{label}' for name, label in CLASSES.items()] if rows is None else rows
    (root / 'labels.csv').write_text('\n'.join([header, *rows, '']), 'utf-8')
    return root / 'labels.csv'


@pytest.fixture
def root(tmp_path):
    return write_tree(tmp_path / 'photos', FILES)


def open_table(path, class_names=None):
    return sources.open_labelled(path, S, class_names)


def test_a_table_labels_images_where_they_lie(root):
    found = open_table(table(root))
    assert found.class_names == ('fox', 'hare') and set(found.names) == set(FILES)
    for i, name in enumerate(found.names):
        assert found.class_names[found.labels[i]] == CLASSES[name]
        np.testing.assert_array_equal(found[i]['image'], decode.decode(FILES[name], name, S))


@pytest.mark.parametrize('header, row', [
    ('id;Label;FileName', '7;{1};{0}'), ('class\tpath', '{1}\t{0}'),
    ('\ufefffile,class', '{0},{1}'), ('image,category,note', '"{0}",{1},"a, b"')])
def test_columns_are_found_by_name_whatever_stands_beside_them(root, header, row):
    rows = [row.format(*one) for one in CLASSES.items()]
    found = open_table(table(root, rows, header))
    assert dict(zip(found.names, (found.class_names[k] for k in found.labels))) == CLASSES


def test_a_column_may_say_what_belongs_together(root):
    rows = [f'{name},{label},{" Ann" if "a/1" in name else ""}' for name, label in CLASSES.items()]
    found = open_table(table(root, rows, 'file,class,Group'))
    assert [own == 'Ann' for own in found.groups] == ['a/1' in name for name in found.names]
    assert open_table(table(root)).groups == ()
    nothing = [f'{name},{label},' for name, label in CLASSES.items()]
    assert open_table(table(root, nothing, 'file,class,group')).groups == ()


def test_paths_may_lead_elsewhere_and_come_from_windows(root):
    rows = [f'{root}/a/1/0.png,fox', 'a\\1\\1.png,hare', '../photos/b/2/0.png,fox', 'notes.txt,fox',
            'a\\1\\1.png,hare']  # said twice
    found = open_table(table(root, rows))
    assert len(found) == 3 and found.ignored == ('notes.txt',)
    assert [found[i]['label'] for i in range(3)] == [0, 0, 1]


def test_a_test_table_goes_by_the_classes_of_the_training_table(root):
    assert open_table(table(root, ['a/1/0.png,hare']), ('fox', 'hare')).labels.tolist() == [1]
    with pytest.raises(ValueError, match='labels.csv: has classes that the training set lacks: '):
        open_table(table(root, ['a/1/0.png,cat']), ('fox', 'hare'))


@pytest.mark.parametrize('rows, header, said', [
    (None, 'file,species', 'line 1: needs one column called class .*, and has file, species'),
    (None, 'file,class,Label', 'line 1: needs one column called class '),
    (['a/1/0.png,fox,train'], 'file,class,split', 'line 1: has a column split: make a table of'),
    (['a/1/0.png,'], 'file,class', 'line 2: an empty class'),
    (['a/1/0.png,fox', 'a/1/0.png,hare'], 'file,class',
     "line 3: a/1/0.png is of class 'hare' here and 'fox' before"),
    (['a/1/0.png,fox,', 'a/1/0.png,fox,q'], 'file,class,group',
     "line 3: a/1/0.png is of group 'q' here and '' before"),
    (['a/1/0.png,fox,p,q'], 'file,class,group,GROUP', 'line 1: needs one column called group'),
    (['gone/0.png,fox'], 'file,class', 'there is no .*/photos/gone/0.png; its paths begin at'),
    (['notes.txt,fox'], 'file,class', 'names no .jpg'),
    ([], 'file,class', 'names no .jpg'),
])
def test_what_is_wrong_is_said_with_its_line(root, rows, header, said):
    with pytest.raises(ValueError, match=f'labels.csv(, |: ){said}'):
        open_table(table(root, rows, header))


def test_an_image_that_is_gone_is_named(root):
    path = table(root)
    (root / 'b/2/2.png').unlink()
    found = open_table(path)
    with pytest.raises(decode.BadImage, match='b/2/2.png: cannot be read'):
        found[found.names.index('b/2/2.png')]
    assert tables.files(path) == list(FILES)


def test_another_encoding_is_said_with_the_file(root):
    path = table(root)
    path.write_bytes('file,class\na/1/0.png,f\xfcchse\n'.encode('latin-1'))
    with pytest.raises(ValueError, match='labels.csv is not in UTF-8 .*; save it as CSV UTF-8'):
        open_table(path)
