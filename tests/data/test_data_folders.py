import errno
import functools
import os
import pathlib
import re
import sys
import zipfile
from concurrent import futures
from unittest import mock

import numpy as np
import pytest
from image_files import S, encode, flat, write_tree, write_zip

from data import decode, folders, sources

PETS = {f'{c}/{i}.png': encode(flat((40 * i, 0, 0))) for c in ('cat', 'dog') for i in range(3)}


def open_folder(train, test=''):
    return sources.open_source('folder', image_size=S, train=str(train), test=str(test))


@pytest.mark.parametrize('wrapper', ['', 'pets/', 'a/b/'])
@pytest.mark.parametrize('kind', ['directory', 'zip'])
def test_folder_and_zip_agree(tmp_path, kind, wrapper):
    files = {wrapper + name: content for name, content in PETS.items()}
    files |= {f'{wrapper}.hidden/x.png': b'', f'{wrapper}cat/.x.png': b''}
    files |= {'__MACOSX/cat/x.png': b'', f'{wrapper}dog/notes.txt': b'hello'}
    write = write_zip if kind == 'zip' else write_tree
    pool, test = open_folder(write(tmp_path / 'set', files))
    assert test is None
    assert pool.class_names == ('cat', 'dog')
    assert pool.names == tuple(wrapper + name for name in PETS)
    np.testing.assert_array_equal(pool.labels, [0, 0, 0, 1, 1, 1])
    for i in range(len(pool)):
        np.testing.assert_array_equal(pool[i]['image'][0, 0], [40 * (i % 3), 0, 0])
    # hidden files are nobody's images; a hidden folder might be a class
    assert set(pool.ignored) == {f'{wrapper}dog/notes.txt', f'{wrapper}.hidden/x.png'}


def test_unicode_spaces_and_case(tmp_path):
    image = encode(flat())
    decomposed = 'cafe\u0301'
    train = {'Ünï cøde/a b.PNG': image, f'{decomposed}/日本.png': image, '😀/x.png': image}
    pool, test = open_folder(
        write_tree(tmp_path / 'train', train), write_zip(tmp_path / 'z', {'caf\u00e9/1.png': image})
    )
    assert set(pool.class_names) == {'Ünï cøde', 'caf\u00e9', '😀'}
    assert [pool[i]['image'].shape for i in range(3)] == [(S, S, 3)] * 3
    assert test.class_names == pool.class_names
    assert pool.class_names[test.labels[0]] == 'caf\u00e9'


def test_names_that_lead_out_are_ignored_and_nothing_is_written(tmp_path):
    bad = {'../evil/a.png': b'', '/abs/a.png': b'', 'cat/../../up.png': b'', '..': b''}
    before = set(tmp_path.rglob('*'))
    path = write_zip(tmp_path / 'set.zip', {**PETS, **bad})
    pool, _ = open_folder(path)
    assert pool.class_names == ('cat', 'dog') and set(pool.ignored) == set(bad)
    assert pool[0]['image'].shape == (S, S, 3)
    assert set(tmp_path.rglob('*')) == before | {path}


def test_links_do_not_loop(tmp_path):
    root = write_tree(tmp_path / 'set', PETS)
    os.symlink(root, root / 'cat' / 'up')
    os.symlink(root / 'dog', root / 'dog' / 'self')
    elsewhere = write_tree(tmp_path / 'other', {'1.png': encode(flat())})
    os.symlink(elsewhere, root / 'linked')  # a class that lives elsewhere is fine
    os.mkfifo(root / 'cat' / 'pipe.png')
    pool, _ = open_folder(root)
    assert pool.class_names == ('cat', 'dog', 'linked') and len(pool) == 7


def test_empty_class_one_image_class_and_no_class(tmp_path):
    root = write_tree(tmp_path / 'set', {**PETS, 'one/1.png': encode(flat())})
    assert list(open_folder(root)[0].labels).count(2) == 1
    (root / 'none').mkdir()
    with pytest.raises(ValueError, match="no images in the class folders .'none'."):
        open_folder(root)
    with pytest.raises(ValueError, match='no <class>/<file> images.*; 1.png lies right in it'):
        open_folder(write_tree(tmp_path / 'flat', {'1.png': encode(flat()), 'labels.csv': b'a'}))
    (tmp_path / 'void').mkdir()
    with pytest.raises(ValueError, match='no <class>/<file> images'):
        open_folder(tmp_path / 'void')


def test_split_folders_given_as_one_set_are_refused(tmp_path):
    files = {f'{split}/{name}': content for split in ('a', 'b') for name, content in PETS.items()}
    with pytest.raises(ValueError, match='no <class>/<file> images'):
        open_folder(write_tree(tmp_path / 'set', files))


def test_test_classes_are_numbered_by_the_training_set(tmp_path):
    train = write_tree(tmp_path / 'train', PETS)
    only_dogs = {name: content for name, content in PETS.items() if name.startswith('dog')}
    _, test = open_folder(train, write_zip(tmp_path / 'test.zip', only_dogs))
    assert test.class_names == ('cat', 'dog') and set(test.labels) == {1}
    with pytest.raises(ValueError, match="lacks: .'fox'."):
        open_folder(train, write_tree(tmp_path / 'more', {'fox/1.png': b''}))


def test_paths_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match='gone'):
        open_folder(tmp_path / 'gone')
    (tmp_path / 'x.zip').write_bytes(b'not a zip')
    with pytest.raises(ValueError, match='neither a directory nor a readable zip'):
        open_folder(tmp_path / 'x.zip')


def test_damaged_or_vanished_members_are_named(tmp_path, monkeypatch):
    path = write_zip(tmp_path / 'set.zip', PETS)
    content = path.read_bytes()
    at = content.index(PETS['cat/1.png']) + 20
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(decode.BadImage, match='cat/1.png: cannot be read .*CRC'):
        open_folder(path)[0][1]
    pool, _ = open_folder(write_tree(tmp_path / 'set', PETS))
    for error in (MemoryError, functools.partial(OSError, errno.EMFILE, 'too many open files')):
        monkeypatch.setattr(pathlib.Path, 'read_bytes', mock.Mock(side_effect=error()))
        with pytest.raises((MemoryError, OSError)):  # of which no image is to blame
            pool[0]
    monkeypatch.undo()
    (tmp_path / 'set/cat/0.png').unlink()
    with pytest.raises(decode.BadImage, match='cat/0.png: cannot be read'):
        pool[0]


def test_names_in_a_zip_may_begin_with_a_dot(tmp_path):
    """As `tar -a -cf x.zip .` writes them."""
    root = write_zip(tmp_path / 'x.zip', {'./': b'', **{f'./{k}': v for k, v in PETS.items()}})
    pool, _ = open_folder(root)
    assert pool.class_names == ('cat', 'dog') and len(pool) == len(PETS) and not pool.ignored
    assert [pool[i]['image'][0, 0, 0] for i in range(3)] == [0, 40, 80]


def test_names_in_a_zip_may_have_backslashes(tmp_path):
    """As some programs of Windows write them."""
    files = {name.replace('/', '\\'): content for name, content in PETS.items()}
    pool, _ = open_folder(write_zip(tmp_path / 'x.zip', files))
    assert pool.class_names == ('cat', 'dog') and pool[5]['image'][0, 0, 0] == 80
    left = {'__MACOSX\\cat\\1.png': b'', '.trash\\1.png': b''}
    assert len(folders.open_images(write_zip(tmp_path / 'y.zip', files | left), S)) == len(PETS)


def test_names_in_a_zip_may_be_utf8_without_saying_so(tmp_path):
    """As macOS writes them; zipfile sets a flag, bit 11, in both of a file's entries."""
    names = ('cafe\u0301/1.png', 'th\u00e9/1.png')
    path = write_zip(tmp_path / 'x.zip', dict.fromkeys(names, encode(flat())))
    content = bytearray(path.read_bytes())
    for mark, flags in ((b'PK\x03\x04', 6), (b'PK\x01\x02', 8)):
        at = content.find(mark)
        while at >= 0:
            content[at + flags + 1] &= ~8
            at = content.find(mark, at + 1)
    path.write_bytes(content)
    pool, _ = open_folder(path)
    assert pool.class_names == ('caf\u00e9', 'th\u00e9') and pool[1]['image'].shape == (S, S, 3)
    with zipfile.ZipFile(tmp_path / 'dos.zip', 'w') as archive:  # as bytes that are no UTF-8
        archive.writestr('caf?/1.png', encode(flat()))
    content = (tmp_path / 'dos.zip').read_bytes().replace(b'caf?', b'caf\x82')
    (tmp_path / 'dos.zip').write_bytes(content)
    assert open_folder(tmp_path / 'dos.zip')[0].class_names == ('caf\u00e9',)


@pytest.mark.parametrize('at, value', [(6, 154), (28, 255)])  # the version it needs; a length
def test_a_zip_whose_directory_is_damaged_is_named(tmp_path, at, value):
    path = write_zip(tmp_path / 'x.zip', PETS)
    content = bytearray(path.read_bytes())
    content[content.find(b'PK\x01\x02') + at] = value
    path.write_bytes(content)
    with pytest.raises(ValueError, match='x.zip is a damaged zip file'):
        open_folder(path)


def test_a_link_that_leads_nowhere_is_an_image_that_cannot_be_read(tmp_path):
    root = write_tree(tmp_path / 'set', PETS)
    (root / 'cat' / '3.png').symlink_to(tmp_path / 'gone.png')
    pool, _ = open_folder(root)
    assert len(pool) == len(PETS) + 1
    with pytest.raises(decode.BadImage, match='cat/3.png: cannot be read .*No such file'):
        pool[pool.names.index('cat/3.png')]


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    root, scan = write_tree(tmp_path / 'set', PETS), os.scandir

    def locked(path):  # root, who may run this, reads everything
        if pathlib.Path(path).name == 'cat':
            raise PermissionError(13, 'Permission denied', str(path))
        return scan(path)

    monkeypatch.setattr(os, 'scandir', locked)
    with pytest.raises(PermissionError, match='cat'):
        open_folder(root)


@pytest.mark.skipif(sys.platform == 'darwin', reason='names there are UTF-8')
@pytest.mark.parametrize('path', [b'caf\xe9/a.png', b'cat/caf\xe9.txt'])
def test_a_name_that_is_not_utf8_is_named(tmp_path, path):
    file = os.path.join(os.fsencode(tmp_path), path)
    os.makedirs(os.path.dirname(file))
    with open(file, 'wb') as out:
        out.write(encode(flat()))
    for read in (folders.open_folder, folders.open_images):
        with pytest.raises(ValueError, match=r"the name 'caf\\udce9.*' is not UTF-8; rename it"):
            read(tmp_path, S)


@pytest.mark.parametrize('write', [write_tree, write_zip])
def test_what_systems_leave_behind_is_not_classified(tmp_path, write):
    assert not folders.is_hidden('./cat/a.png')
    left_behind = ('__MACOSX/cat/._a.png', 'cat/._a.png', '.trash/a.png', 'cat/Icon\r',
                   'cat/c.gif:Zone.Identifier')
    names = ('b.png', 'cat/a.png', 'cat/c.gif', *left_behind)
    root = write(tmp_path / 'images', dict.fromkeys(names, encode(flat())))
    found = folders.open_images(root, S)
    assert found.names == ('b.png', 'cat/a.png') and found.ignored == ('cat/c.gif',)
    if root.is_dir():  # or one image alone
        assert folders.open_images(root / 'b.png', S).names == ('b.png',)


@pytest.mark.parametrize('names, said', [
    (['/cat/1.png', '/dog/1.png'], '/cat/1.png is no path within it: make the zip again'),
    (['set.zip'], 'there are only .zip, unpack it'),
])
def test_zips_that_were_made_otherwise_are_explained(tmp_path, names, said):
    root = write_zip(tmp_path / 'x.zip', dict.fromkeys(names, encode(flat())))
    with pytest.raises(ValueError, match=said):
        open_folder(root)


def test_a_member_may_not_be_larger_than_its_entry_says(tmp_path):
    path = write_zip(tmp_path / 'x.zip', {'cat/1.png': bytes(5000)})
    content = bytearray(path.read_bytes())
    at = content.index(b'PK\x01\x02') + 24  # of the directory's entry: the size
    content[at : at + 4] = (512).to_bytes(4, 'little')
    path.write_bytes(content)
    with pytest.raises(decode.BadImage, match='1.png: cannot be read'):
        open_folder(path)[0][0]


def test_a_file_that_a_zip_has_twice_is_classified_once(tmp_path):
    with zipfile.ZipFile(tmp_path / 'x.zip', 'w') as archive:
        archive.writestr('1.png', encode(flat()))
        with pytest.warns(UserWarning, match='Duplicate name'):
            archive.writestr('1.png', encode(flat()))
    assert folders.open_images(tmp_path / 'x.zip', S).names == ('1.png',)


@pytest.mark.skipif(sys.platform == 'darwin', reason='names there are UTF-8')
def test_a_path_that_is_not_utf8_is_refused_before_anything_learns(tmp_path):
    path = os.fsdecode(bytes(tmp_path) + b'/caf\xe9')
    write_tree(pathlib.Path(path), PETS)
    for read in (open_folder, lambda one: folders.open_images(f'{one}/cat/1.png', S)):
        with pytest.raises(ValueError, match='is not UTF-8; rename it'):
            read(path)


def test_images_in_hidden_folders_alone_are_pointed_to(tmp_path):
    root = write_tree(tmp_path / 'set', {'.22lr/0.png': encode(flat())})
    with pytest.raises(ValueError, match='.22lr/0.png lies in a hidden folder: give it another'):
        open_folder(root)


@pytest.mark.parametrize('names, said', [
    (['a/cat/0.png', 'b/dog/0.png'], 'a/cat/0.png lies deeper: name the folder that holds the '
     'class folders or, if a is a class, make it a/cat_0.png'),
    (['cat/0.png', 'dog/p1/day 2/0.png'], r"folders .'dog'.; .*; dog/p1/day 2/0.png lies deeper: .*"
     'if dog is a class, make it dog/p1_day 2_0.png'),
    (['cat/0.png', 'dog/0.tif', 'fox/0.gif', '.x/0.png'],
     r"folders .'dog', 'fox'.; .*; there are only .gif, .tif, to be converted"),
])
def test_images_that_lie_elsewhere_are_pointed_to(tmp_path, names, said):
    root = write_tree(tmp_path / 'set', dict.fromkeys(names, encode(flat())))
    with pytest.raises(ValueError, match=said):
        open_folder(root)


@pytest.mark.parametrize('names', [
    ['train/cat/0.png', 'train/dog/0.png', 'test/cat/0.png', 'test/dog/0.png'],
    ['train/cat/0.png', 'train/dog/0.png', 'test/0.png'],
    ['cat/0.png', 'dog/0.png', 'test/cat/0.png'],
    ['train/cat_0.png', 'train/dog_0.png', 'test/cat_1.png'],
    ['set/Train/cat/0.png', 'set/Valid/cat/0.png'],
])
@pytest.mark.parametrize('write', [write_tree, write_zip])
def test_parts_of_a_set_are_no_classes(tmp_path, write, names):
    root = write(tmp_path / 'set.zip', dict.fromkeys(names, encode(flat())))
    where = root if root.is_dir() else tmp_path / 'set'
    with pytest.raises(ValueError, match='are parts of a set and no classes') as refused:
        open_folder(root)
    said = re.findall('--config.data.([a-z]+)=([^ ]+)', str(refused.value))
    assert {path for _, path in said} <= {str(where / name) for name in (
        'train', 'test', 'set/Train')} and said
    assert ('unpack it' in str(refused.value)) == (write is write_zip)


def test_an_empty_train_among_vehicles_is_an_empty_class(tmp_path):
    names = ('bus/0.png', 'car/0.png', 'train/0.tif')
    root = write_tree(tmp_path / 'set', dict.fromkeys(names, encode(flat())))
    with pytest.raises(ValueError, match=r"folders .'train'.; .*there are only .tif, to be"):
        open_folder(root)


def test_what_lies_elsewhere_is_no_hint_on_an_empty_class(tmp_path):
    names = ('cover.png', 'cat/0.png', 'cat/p1/1.png', '.x/0.png')
    root = write_tree(tmp_path / 'set', dict.fromkeys(names, encode(flat())))
    (root / 'dog').mkdir()
    with pytest.raises(ValueError, match='.; add some or remove them$'):
        open_folder(root)


def test_a_train_is_a_class_among_others(tmp_path):
    names = ('bus/0.png', 'train/0.png')
    root = write_tree(tmp_path / 'set', dict.fromkeys(names, encode(flat())))
    assert open_folder(root, root)[1].class_names == ('bus', 'train')


def test_a_zip_that_was_replaced_is_opened_anew(tmp_path):
    for shade in (10, 200):
        new = write_zip(tmp_path / 'new.zip', {'cat/a.png': encode(flat(shade))})
        new.rename(tmp_path / 'x.zip')
        assert open_folder(tmp_path / 'x.zip')[0][0]['image'][0, 0, 0] == shade


def test_threads_read_one_zip(tmp_path):
    root = write_zip(tmp_path / 'x.zip', {f'cat/{i:02d}.png': encode(flat(i)) for i in range(60)})
    source = folders.open_images(root, S)
    with futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(source.__getitem__, range(60)))
    assert [item['image'][0, 0, 0] for item in found] == list(range(60))
