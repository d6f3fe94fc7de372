"""Image files, trees and zips of them, for the tests of what reads them."""

import io
import struct
import zipfile
import zlib

from PIL import Image

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


def bomb(width, height):
    """A PNG whose header promises width x height pixels and whose data is empty."""

    def chunk(kind, body):
        return (
            struct.pack('>I', len(body)) + kind + body
            + struct.pack('>I', zlib.crc32(kind + body))
        )

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    data = chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + data
