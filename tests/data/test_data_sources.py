import io
import os
import re
import struct
import sys
import threading
import time
import zipfile
import zlib
from concurrent import futures

import numpy as np
import pytest
from PIL import Image

from data import decode, sources

S = 8


def encode(image, kind='PNG', **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def flat(value=100, size=(12, 10), mode='RGB'):
    return Image.new(mode, size, value)


def write_tree(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def write_zip(path, files):
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def open_folder(train, test=''):
    return sources.open_source('folder', image_size=S, train=str(train), test=str(test))


PETS = {f'{c}/{i}.png': encode(flat((40 * i, 0, 0))) for c in ('cat', 'dog') for i in range(3)}


# Names ------------------------------------------------------------------------------------------


def test_unknown_source_lists_the_known_ones():
    with pytest.raises(ValueError, match='glyphs, digits, folder, tfds'):
        sources.open_source('mnist', image_size=S)


@pytest.mark.parametrize(
    'arguments',
    [
        {'name': 'folder'},
        {'name': 'digits', 'train': 'x'},
        {'name': 'digits', 'test': 'x'},
        {'name': 'digits', 'image_size': 0},
        {'name': 'tfds:'},
    ],
)
def test_contradictory_requests_are_refused(arguments):
    with pytest.raises(ValueError):
        sources.open_source(**{'image_size': S, **arguments})


@pytest.mark.parametrize('name', ['digits', 'glyphs'])
def test_built_in_sources_keep_the_protocol(name):
    pool, test = sources.open_source(name, image_size=16)
    assert (test is None) == (name == 'digits')
    item = pool[5]
    assert item['image'].shape == (16, 16, 3) and item['image'].dtype == np.uint8
    assert item['image'].max() > item['image'].min()
    assert item['label'] == pool.labels[5] and item['index'] == 5 and isinstance(item['name'], str)
    assert pool.labels.dtype == np.int32 and len(pool.labels) == len(pool)
    assert set(pool.labels) == set(range(len(pool.class_names)))


# Folders and zips -------------------------------------------------------------------------------


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
    assert pool.ignored == (f'{wrapper}dog/notes.txt',)  # hidden files are nobody's images


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
    os.symlink(tmp_path / 'gone.png', root / 'cat' / 'broken.png')
    os.mkfifo(root / 'cat' / 'pipe.png')
    pool, _ = open_folder(root)
    assert pool.class_names == ('cat', 'dog', 'linked') and len(pool) == 7


def test_empty_class_one_image_class_and_no_class(tmp_path):
    root = write_tree(tmp_path / 'set', {**PETS, 'one/1.png': encode(flat())})
    assert list(open_folder(root)[0].labels).count(2) == 1
    (root / 'none').mkdir()
    with pytest.raises(ValueError, match="no images in the class folders .'none'."):
        open_folder(root)
    with pytest.raises(ValueError, match='no <class>/<file> images'):
        open_folder(write_tree(tmp_path / 'flat', {'1.png': encode(flat())}))
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


def test_damaged_or_vanished_members_are_named(tmp_path):
    path = write_zip(tmp_path / 'set.zip', PETS)
    content = path.read_bytes()
    at = content.index(PETS['cat/1.png']) + 20
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(decode.BadImage, match='cat/1.png: cannot be read .*CRC'):
        open_folder(path)[0][1]
    pool, _ = open_folder(write_tree(tmp_path / 'set', PETS))
    (tmp_path / 'set/cat/0.png').unlink()
    with pytest.raises(decode.BadImage, match='cat/0.png: cannot be read'):
        pool[0]


# Pixels -----------------------------------------------------------------------------------------


def decoded(image, kind='PNG', size=S, **options):
    return decode.decode(encode(image, kind, **options), 'x', size)


def bomb(width, height):
    """A PNG whose header promises width x height pixels and whose data is empty."""

    def chunk(kind, body):
        return (
            struct.pack('>I', len(body)) + kind + body
            + struct.pack('>I', zlib.crc32(kind + body))
        )  # fmt: skip

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    data = chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + data


def test_same_size_is_untouched_and_the_centre_is_kept():
    pixels = np.random.default_rng(0).integers(0, 256, (S, S, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decoded(Image.fromarray(pixels)), pixels)
    wide = np.zeros((S, 3 * S, 3), np.uint8)
    wide[:, S : 2 * S] = pixels
    np.testing.assert_array_equal(decoded(Image.fromarray(wide)), pixels)


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'WEBP', 'BMP'])
@pytest.mark.parametrize('size', [(1, 1), (300, 200), (7, 900)])
def test_any_size_becomes_one_square(kind, size):
    image = decoded(flat((200, 100, 50), size), kind)
    assert image.shape == (S, S, 3) and image.dtype == np.uint8
    np.testing.assert_allclose(image, np.broadcast_to([200, 100, 50], image.shape), atol=6)


def test_exif_orientation_is_applied():
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255  # white above; orientation 3 is upside down
    exif = Image.Exif()
    exif[0x0112] = 3
    image = decoded(Image.fromarray(pixels), 'JPEG', exif=exif, quality=95)
    assert image[0].mean() < 30 and image[-1].mean() > 225


def test_sixteen_bits_are_scaled():
    grey = Image.fromarray(np.full((9, 9), 32768, np.uint16))
    assert grey.mode == 'I;16'
    np.testing.assert_array_equal(decoded(grey), 128)
    white = Image.fromarray(np.full((9, 9), 65535, np.uint16))
    np.testing.assert_array_equal(decoded(white), 255)


@pytest.mark.parametrize(('value', 'expected'), [(0.5, 128), (200.0, 200), (np.nan, 0)])
def test_floats_are_scaled(value, expected):
    image = decode._to_colour(Image.fromarray(np.full((4, 4), value, np.float32)))
    np.testing.assert_array_equal(np.asarray(image), expected)


def test_transparency_lies_on_white():
    clear_red = flat((255, 0, 0, 0), mode='RGBA')
    np.testing.assert_array_equal(decoded(clear_red), 255)
    np.testing.assert_array_equal(decoded(flat((0, 0), mode='LA')), 255)
    half = decoded(flat((0, 0, 0, 128), mode='RGBA'))
    np.testing.assert_allclose(half, 127, atol=1)
    palette = flat((10, 20, 30)).quantize(4)
    np.testing.assert_array_equal(decoded(palette)[0, 0], [10, 20, 30])
    np.testing.assert_array_equal(decoded(palette, transparency=palette.getpixel((0, 0))), 255)
    np.testing.assert_array_equal(decoded(flat(7, mode='L'), transparency=7), 255)


def test_other_modes_become_rgb():
    np.testing.assert_allclose(
        decoded(flat((0, 255, 255, 0), mode='CMYK'), 'JPEG')[0, 0], [255, 0, 0], atol=4
    )
    np.testing.assert_array_equal(decoded(flat(77, mode='L')), 77)
    np.testing.assert_array_equal(decoded(flat(1, mode='1')), 255)


@pytest.mark.parametrize('kind', ['PNG', 'WEBP'])
def test_animations_are_refused(kind):
    frames = [flat((80 * i, 0, 0)) for i in range(3)]
    content = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(decode.BadImage, match=r'^cat/a.png: animated \(3 frames\)'):
        decode.decode(content, 'cat/a.png', S)


def test_a_phone_photo_with_a_preview_is_one_still():
    image = decoded(flat((200, 0, 0)), 'MPO', save_all=True, append_images=[flat((0, 0, 200))])
    np.testing.assert_allclose(image[0, 0], [200, 0, 0], atol=4)


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (b'', 'not a JPEG'),
        (b'this is text', 'not a JPEG'),
        (encode(flat().convert('P'), 'GIF'), 'not a JPEG'),
        (encode(flat(), 'TIFF'), 'not a JPEG'),
        (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'not a JPEG'),
        (encode(NOISE, 'JPEG')[:2000], 'cannot be decoded'),
        (encode(NOISE)[:2000], 'cannot be decoded'),
        (encode(NOISE, 'WEBP')[:900], 'cannot be decoded'),
        (bomb(8192, 6145), 'over the limit'),
        (bomb(12000, 9000), 'over the limit'),  # Pillow would only warn
        (bomb(60000, 60000), 'cannot be decoded'),  # Pillow's own limit
        (bomb(100, 100), 'cannot be decoded'),
    ],
)
def test_bad_files_are_refused_by_name(content, reason, recwarn):
    source = encoded([content], names=('cat/x.png',))
    (error,) = sources.read(source, [0])
    assert isinstance(error, decode.BadImage) and not recwarn.list
    assert re.match('^cat/x.png: .*' + reason, str(error)) and '\n' not in str(error)


@pytest.mark.skipif(sys.platform == 'darwin', reason='names there are UTF-8')
@pytest.mark.parametrize('path', [b'caf\xe9/a.png', b'cat/caf\xe9.txt'])
def test_a_name_that_is_not_utf8_is_named(tmp_path, path):
    file = os.path.join(os.fsencode(tmp_path), path)
    os.makedirs(os.path.dirname(file))
    with open(file, 'wb') as out:
        out.write(encode(flat()))
    for read in (sources.open_folder, sources.open_images):
        with pytest.raises(ValueError, match=r"the name 'caf\\udce9.*' is not UTF-8; rename it"):
            read(tmp_path, S)


@pytest.mark.parametrize('write', [write_tree, write_zip])
def test_what_systems_leave_behind_is_not_classified(tmp_path, write):
    assert not sources.is_hidden('./cat/a.png')
    names = ('b.png', 'cat/a.png', '__MACOSX/cat/._a.png', 'cat/._a.png', '.trash/a.png')
    root = write(tmp_path / 'images', dict.fromkeys(names, encode(flat())))
    assert sources.open_images(root, S).names == ('b.png', 'cat/a.png')
    if root.is_dir():  # or one image alone
        assert sources.open_images(root / 'b.png', S).names == ('b.png',)


def test_images_that_lie_deeper_are_pointed_to(tmp_path):
    names = (f'{split}/{name}/0.png' for split in ('train', 'test') for name in ('cat', 'dog'))
    root = write_tree(tmp_path / 'set', dict.fromkeys(names, encode(flat())))
    with pytest.raises(ValueError, match='test/cat/0.png lies deeper: name the folder above'):
        open_folder(root)


def test_a_zip_that_was_replaced_is_opened_anew(tmp_path):
    for shade in (10, 200):
        new = write_zip(tmp_path / 'new.zip', {'cat/a.png': encode(flat(shade))})
        new.rename(tmp_path / 'x.zip')
        assert open_folder(tmp_path / 'x.zip')[0][0]['image'][0, 0, 0] == shade


def test_threads_read_one_zip(tmp_path):
    root = write_zip(tmp_path / 'x.zip', {f'cat/{i:02d}.png': encode(flat(i)) for i in range(60)})
    source = sources.open_images(root, S)
    with futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(source.__getitem__, range(60)))
    assert [item['image'][0, 0, 0] for item in found] == list(range(60))


# Reading many -----------------------------------------------------------------------------------


def encoded(contents, names=None, called=lambda i: None):
    """A source of encoded images in memory; `called` is told of each that is read."""

    def read(i):
        called(i)
        return contents[i]

    names = names or tuple(map(str, range(len(contents))))
    return sources.EncodedSource(('cat',), np.zeros(len(contents), np.int32), names, S, read)


def test_photographs_are_read_in_order_by_several_threads(recwarn):
    photo = lambda k: encode(flat((3 * k, 0, 0), (1500, 1000)), 'WEBP')  # noqa: E731
    contents = [photo(k) for k in range(12)] + [bomb(12000, 9000)] + [photo(13)]
    threads = set()
    source = encoded(contents, called=lambda i: threads.add(threading.get_ident()))
    rows = [13, *range(13)]
    found = list(sources.read(source, rows))
    assert len(threads) > 1
    assert isinstance(found.pop(), decode.BadImage) and not recwarn.list
    assert [item['index'] for item in found] == rows[:-1]
    for i, item in zip(rows, found):
        np.testing.assert_array_equal(item['image'], source[i]['image'])


def test_small_images_are_read_by_one_thread(monkeypatch):
    monkeypatch.setattr(sources, '_SLOW', 10.0)  # whatever else the machine does
    threads = set()
    source = encoded([encode(flat())] * 80, called=lambda i: threads.add(threading.get_ident()))
    assert len(list(sources.read(source, range(80)))) == 80
    assert threads == {threading.get_ident()}


def test_of_a_progressive_photograph_all_pixels_count(monkeypatch):
    """The decoder holds them all, however small the image that is asked for."""
    asked = []
    room = decode._room
    monkeypatch.setattr(decode, '_room', lambda pixels: (asked.append(pixels), room(pixels))[1])
    for options in ({}, {'progressive': True}):
        decoded(flat(size=(800, 800)), 'JPEG', **options)
    assert asked == [100 * 100, 800 * 800]


def test_nothing_to_read():
    assert list(sources.read(encoded([]), [])) == []


def test_threads_decode_no_more_pixels_at_once_than_one_image_may_have(monkeypatch):
    now, most, lock = [], [], threading.Lock()

    def load(image, side):
        with lock:
            now.append(image.width * image.height)
            most.append(sum(now))
        time.sleep(0.01)
        with lock:
            now.remove(image.width * image.height)

    monkeypatch.setattr(decode, '_to_square', load)
    monkeypatch.setattr(decode, 'MAX_PIXELS', 1000)
    sizes = [(30, 30), (20, 20), (10, 50), (10, 10)] * 8
    contents = [encode(flat(size=size)) for size in sizes]
    with futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda data: decode.decode(data, 'x', S), contents))
    assert len(most) == len(sizes) and 900 < max(most) <= 1000


# TFDS -------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def tfds_folder(tmp_path_factory):
    """A real prepared array_record set of six training and four test images."""
    tfds = pytest.importorskip('tensorflow_datasets')
    tfds.core.utils.gcs_utils._is_gcs_disabled = True  # no network in tests

    class TinyPets(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version('1.0.0')

        def _info(self):
            features = {
                'image': tfds.features.Image(shape=(None, None, 3)),
                'label': tfds.features.ClassLabel(names=['cat', 'dog']),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {'train': self._generate_examples(6), 'test': self._generate_examples(4)}

        def _generate_examples(self, n):
            for i in range(n):
                image = io.BytesIO(encode(flat((10 * i, 0, 0))))
                yield i, {'image': image, 'label': i % 2}

    folder = tmp_path_factory.mktemp('tfds')
    TinyPets(data_dir=str(folder), file_format='array_record').download_and_prepare()
    return folder


@pytest.mark.parametrize('path', ['', 'tiny_pets/1.0.0'])
def test_tfds_is_read_without_tensorflow(tfds_folder, path):
    pool, test = sources.open_source(
        'tfds:tiny_pets', image_size=S, train=str(tfds_folder / path)
    )
    assert pool.class_names == ('cat', 'dog') and len(pool) == 6 and len(test) == 4
    assert pool.labels.dtype == np.int32
    for i in range(6):
        item = pool[i]
        assert item['image'].shape == (S, S, 3)
        assert item['image'][0, 0, 0] // 10 % 2 == item['label'] == pool.labels[i]


def test_the_paths_of_a_source_are_those_that_it_reads(tfds_folder, monkeypatch):
    from tensorflow_datasets.core.utils import file_utils

    monkeypatch.setattr(file_utils, '_REGISTERED_DATA_DIRS', {file_utils.Path(tfds_folder)})
    [found] = sources.paths('tfds:tiny_pets')
    assert str(found) == str(tfds_folder / 'tiny_pets/1.0.0')
    assert sources.paths('tfds:tiny_pets', train=str(tfds_folder)) == [found]
    assert sources.paths('folder', train='a', test='b') == ['a', 'b']
    assert sources.paths('glyphs') == []


def test_unprepared_tfds_names_the_command(tfds_folder):
    with pytest.raises(FileNotFoundError, match='tfds build mnist --file_format=array_record'):
        sources.open_source('tfds:mnist', image_size=S, train=str(tfds_folder))


def test_tfds_in_another_format_names_the_command(tfds_folder, tmp_path):
    source, folder = tfds_folder / 'tiny_pets/1.0.0', tmp_path / 'tiny_pets/1.0.0'
    folder.mkdir(parents=True)
    for name in ('features.json', 'label.labels.txt'):
        (folder / name).write_bytes((source / name).read_bytes())
    info = (source / 'dataset_info.json').read_text()
    (folder / 'dataset_info.json').write_text(info.replace('array_record', 'tfrecord'))
    with pytest.raises(ValueError, match='only TensorFlow reads; run: .*--overwrite'):
        sources.open_source('tfds:tiny_pets', image_size=S, train=str(tmp_path))
