import os

import pytest

from train import disk


def test_too_little_space_is_said_in_words(tmp_path):
    disk.require_space(tmp_path, 1)
    with pytest.raises(OSError, match='MB more and .* MB are free; make room') as error:
        disk.require_space(tmp_path, 10**18)
    assert str(tmp_path) in str(error.value)
    if os.statvfs(tmp_path).f_files:  # some file systems count none
        with pytest.raises(OSError, match='files more and its file system has room for'):
            disk.require_space(tmp_path, 1, 10**18)


def test_input_digests_notice_a_changed_image(tmp_path):
    folder = tmp_path / 'train'
    (folder / 'cat').mkdir(parents=True)
    image = folder / 'cat' / 'a.png'
    image.write_bytes(b'1')
    seen = {disk.digest(folder)}
    image.write_bytes(b'22')
    seen.add(disk.digest(folder))
    image.rename(folder / 'cat' / 'b.png')
    seen.add(disk.digest(folder))
    assert len(seen) == 3
    assert disk.digest(folder) in seen
    table = tmp_path / 'labels.csv'
    table.write_text('file,class\ntrain/cat/b.png,cat\ngone.png,cat\n')
    seen = {disk.digest(table)}
    (folder / 'cat' / 'b.png').write_bytes(b'333')
    seen.add(disk.digest(table))
    table.write_text(table.read_text().replace('gone.png,cat', 'gone.png,dog'))
    seen.add(disk.digest(table))
    assert len(seen) == 3 and disk.digest(table) in seen
    archive = tmp_path / 'train.zip'
    archive.write_bytes(b'1')
    first = disk.digest(archive)
    archive.write_bytes(b'2')
    assert disk.digest(archive) != first


@pytest.mark.parametrize('name', ['.DS_Store', 'cat/._a.png', 'cat/Thumbs.db', '__MACOSX/a.png'])
def test_what_a_look_at_a_folder_leaves_there_is_no_change(tmp_path, name):
    (tmp_path / 'cat').mkdir()
    (tmp_path / 'cat' / 'a.png').write_bytes(b'1')
    before = disk.digest(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b'1')
    assert disk.digest(tmp_path) == before


def test_input_digests_notice_what_changes_behind_a_link(tmp_path):
    """data.folders follows links, so what is noticed must be behind them, too."""
    (tmp_path / 'cats').mkdir()
    (tmp_path / 'train').mkdir()
    (tmp_path / 'train' / 'cat').symlink_to(tmp_path / 'cats')
    empty = disk.digest(tmp_path / 'train')
    (tmp_path / 'cats' / 'a.png').write_bytes(b'1')
    assert disk.digest(tmp_path / 'train') != empty


def test_input_digests_notice_a_link_that_leads_nowhere(tmp_path):
    before = disk.digest(tmp_path)
    (tmp_path / 'a.png').symlink_to(tmp_path / 'gone.png')
    assert disk.digest(tmp_path) != before


def test_input_digests_follow_the_home_folder(tmp_path, monkeypatch):
    """data.folders opens '~/...', so what is noticed must be the same folder."""
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'a.png').write_bytes(b'1')
    assert disk.digest('~') == disk.digest(tmp_path)
