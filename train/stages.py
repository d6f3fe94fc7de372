"""What need not be done again: a stage whose fingerprint is unchanged is skipped.

A stage writes into `<name>.unfinished`, which gets its final name when it is whole. Its
fingerprint is a digest of the config keys it read, the stages and files it builds on and the code
it ran. An interrupted stage whose fingerprint is unchanged goes on in the same folder. One whose
config keys or code changed is refused, with the keys and the commit, unless the run was told to do
it again. Of several processes, process 0 decides and writes; the others do what it decided.
"""

import contextlib
import functools
import os
import pathlib
import shutil
import time

from configs.default import flat
from train import disk, fingerprints, finished, lock, parallel, processes, provenance
from train.progress import duration, say

PLACES = 'data.train', 'data.test'  # of images: what they are is told by what is made of them
KEPT = 'checkpoints/step_*', 'drawn/*.npz'  # in an unfinished stage: work of hours, perhaps


class Changed(ValueError):
    """What stands there, or what another process does, does not fit this run."""


class Lost(OSError):
    """A finished stage lacks what it made.

    Attributes:
        folder: the stage's.
    """

    def __init__(self, folder, message):
        super().__init__(message)
        self.folder = folder


class Runner:
    """Runs the stages of one run folder.

    Args:
        workdir: the run's folder.
        rerun: do stages again whose settings or code changed, rather than refuse.
        shared: a folder where all but the cheap stages are kept under their fingerprints, for
            several runs: what two of them have in common is done by the first that needs it.
        begin: called once, as begin(whether it makes more than a report), before this run first
            changes the folder or, if it has nothing to do, at its end.

    Attributes:
        seconds: {stage: seconds its work took, now or when it was done}.
        folders: {stage: its folder}, of those that are done.
        worked: whether any stage had to run.
    """

    def __init__(self, workdir, *, rerun=False, shared=None, begin=lambda works: None):
        fingerprints.own_code()  # now, before a stage of hours
        self.workdir, self.shared = pathlib.Path(workdir), shared
        self.rerun, self._begin = rerun, begin
        self.seconds, self.folders = {}, {}
        self.worked = self._taken = False

    def run(self, name, work, *, reads, after=(), code=(), cheap=False, alone=False, guarded=()):
        """Does work(folder) unless it was done before.

        Args:
            name: the stage's folder, relative to the run's or the shared folder.
            work: writes everything into the folder it is given.
            alone: work(folder) is for process 0 only.
            reads: what of the config it reads: {key: a sub-config or JSON data}.
            after: digests of the stages it builds on.
            code: source files and packages it runs, relative to the repository.
            cheap: it is done again without asking, also if a file is gone that its folder had, and
                never shared.
            guarded: files that it writes; others than a finished stage's are refused. With the same
                it is no matter that its code changed, or where its images lie.
        Returns:
            (folder, digest).

        Raises:
            Changed: see the class.
        """
        fingerprint, digest = fingerprints.of(reads, after, code)
        if parallel.any_process(processes.on_main(lambda: digest) != digest):
            raise Changed(
                f'{name}: the processes have other settings or code than each other; give all the '
                'same command, checkout and Python'
            )
        shared = self.shared and not cheap
        final, unfinished = self._places(name, digest, shared)
        with contextlib.ExitStack() as stack:
            if shared:
                processes.on_main(lambda: stack.enter_context(_turn(final, name)))
            done, begun = processes.on_main(
                lambda: self._begin_stage(
                    final, unfinished, name, digest, fingerprint, cheap, alone, guarded
                )
            )
            if not done:
                whole = (lambda out: processes.on_main(lambda: work(out))) if alone else work
                done = self._work(name, final, unfinished, begun, whole, guarded, not cheap)
            self.folders[name], self.seconds[name] = final, done['seconds']
            if self._taken:
                self._list()
        return final, digest

    def refuse_changed(self, name, *, reads, after, code):
        """Raises Changed, and does nothing, where `run` would for this stage.

        Asked before the hours of other stages, so that a refusal comes at once.
        """
        fingerprint, digest = fingerprints.of(reads, after, code)
        final, unfinished = self._places(name, digest, self.shared)

        def refuse():
            before = self._replaced(final, unfinished, digest)
            if before and not self.rerun:
                _refuse_change(final, before, fingerprint, ())

        processes.on_main(refuse)

    def _places(self, name, digest, shared):
        """The folders of a stage when it is done, and until then."""
        final = self.shared / name / digest[:16] if shared else self.workdir / name
        return final, final.with_name(final.name + '.unfinished')

    @staticmethod
    def _replaced(final, unfinished, digest):
        """stage.json of what a stage of this digest would replace, done or begun, or None."""
        done, begun = finished.read(final), finished.read(unfinished)
        if any(one and one['digest'] == digest for one in (done, begun)):
            return None
        kept = any(path for one in KEPT for path in unfinished.glob(one))
        return done or (begun if kept else None)

    def _work(self, name, final, unfinished, begun, work, guarded, works):
        """work(unfinished), which then gets its final name; what stage.json says of it."""
        self.worked = True
        start = time.monotonic()
        try:
            with parallel.memory_errors():
                work(unfinished)
            if not works and parallel.is_main():  # others may be late, and it gone
                begun['files'] = sorted(path.name for path in unfinished.iterdir())
        except Lost as error:
            for folder in self.folders.values():
                if folder.resolve() == error.folder:
                    processes.on_main(functools.partial(self._reopen, folder))
            raise
        finally:
            begun['seconds'] = round(begun['seconds'] + time.monotonic() - start, 1)
            if parallel.is_main():
                disk.write_json(unfinished / finished.FILE, begun)
        processes.on_main(
            lambda: self._put_in_place(unfinished, final, begun['digest'], guarded, works))
        say(f'{name}: done in {duration(begun["seconds"])}')
        return begun

    def _reopen(self, folder):
        """`reopen`, of a shared stage while no other run is at it: one that is has seen it, too."""
        shared = self.shared and folder.is_relative_to(self.shared)
        turn = lock.turn(_lock(folder), _leave) if shared else contextlib.nullcontext()
        with contextlib.suppress(lock.Held), turn:
            reopen(folder)

    def _begin_stage(self, final, unfinished, name, digest, fingerprint, cheap, alone, guarded):
        """(stage.json if the stage is done, of the work begun if it is not); the other is None."""
        done = finished.read(final)
        lost = cheap and done and any(not (final / name).exists() for name in done.get('files', ()))
        if done and done['digest'] == digest and not lost:
            return done, None
        begun = finished.read(unfinished)
        goes_on = begun and begun['digest'] == digest
        before = self._replaced(final, unfinished, digest)
        if before and not (self.rerun or cheap):
            _refuse_change(final, before, fingerprint, guarded)
        if not alone:  # which fails before it has changed anything, as at a path that is wrong
            self._take_over(works=True)
        if goes_on:
            say(f'{name}: going on where it was interrupted')
            begun |= finished.joined([begun, provenance.made_with()])
            disk.write_json(unfinished / finished.FILE, begun)
        else:
            changed = before and [key for key in fingerprint if fingerprint[key] != before[key]]
            named = {'reads': 'settings', 'after': 'inputs', 'code': 'code'}
            why = ' and '.join(named[key] for key in changed or ())
            say(f'{name}: its {why} changed, doing it again' if why else f'{name}: start')
            _remove(unfinished)
            unfinished.mkdir(parents=True)
            begun = {'digest': digest, 'seconds': 0.0, 'commit': provenance.commit(),
                     **provenance.made_with(), **fingerprint}
            disk.write_json(unfinished / finished.FILE, begun)
        return None, begun

    def _take_over(self, works):
        """From now on the folder is this config's: what another left is listed no more."""
        if not self._taken:
            self._taken = True
            self._list()
            self._begin(works)

    def _put_in_place(self, unfinished, final, digest, guarded, works):
        stands = finished.read(final)
        if works and stands and stands['digest'] == digest:
            # another host's, of whose lock or result this one did not know; others may read it
            _remove(unfinished)
            return
        others = _others(final, unfinished, guarded)
        if others and not self.rerun:
            _remove(unfinished)
            raise Changed(
                f'{others[0]} would be another: these are other images, or some were added, '
                'removed or changed since, or the code that cuts them was; put them back, add '
                '--rerun to do all that builds on it again, or name another --workdir to keep both'
            )
        same = guarded and final.exists() and not others
        if not same:  # where it is the same, what builds on it may be refused yet
            self._take_over(works)
        if final.exists() and not (final / finished.FILE).exists():  # no stage has made it
            final.rename(final.with_name(f'{final.name}.found_{time.time_ns()}'))
        _remove(final)
        unfinished.rename(final)

    def _list(self):
        listed = {n: os.path.relpath(folder, self.workdir) for n, folder in self.folders.items()}
        disk.write_json(self.workdir / finished.FOLDERS, listed)

    def close(self):
        """Lists the stages where another config, or older code, listed them."""
        if not self._taken:  # a config may differ in what changes no stage
            self._begin(False)
        if self.folders != finished.places(self.workdir):
            self._list()


def _turn(final, name):
    wait = lambda holder: say(f'{name}: waiting for {holder}, which is at it')  # noqa: E731
    return lock.turn(_lock(final), wait)


def _lock(final):
    return final.with_name(final.name + '.lock')


def _leave(holder):
    raise lock.Held(holder)


def reopen(folder):
    """Turns a finished stage back into an unfinished one, which the next run goes on with.

    The caller must hold the run's lock. What another config has begun there is set aside.
    """
    if finished.read(folder):
        unfinished = folder.with_name(folder.name + '.unfinished')
        if unfinished.exists():
            unfinished.rename(f'{unfinished}_{time.time_ns()}')
        folder.rename(unfinished)


def _remove(folder):
    """Deletes a stage; a kill on the way leaves none, rather than a part of it."""
    if folder.exists():
        (folder / finished.FILE).unlink(missing_ok=True)
        shutil.rmtree(folder)


def _refuse_change(folder, before, now, guarded):
    """A changed setting, or an update of the code, does not throw hours of training away."""
    old, new = (flat(each['reads']) for each in (before, now))
    pairs = {key: (old.get(key, 'unset'), new.get(key, 'unset')) for key in old.keys() | new.keys()}
    changed = [key for key, (was, given) in sorted(pairs.items())
               if was != given and not (guarded and key in PLACES)]
    made, way = [], ''
    if before['code'] != now['code'] and not guarded:
        commit = before.get('commit', 'unknown')
        made.append(f'by other code of this project (commit {commit})')
        if commit not in (provenance.commit(), 'unknown') and not commit.endswith('+'):
            way = 'check that out to go on with it, '
    if changed:
        listed = (f'{key} {pairs[key][0]!r} -> {pairs[key][1]!r}' for key in changed)
        made.append(f'with other settings: {", ".join(listed)}')
    if changed and all(key.endswith('.dtype') for key in changed):  # of `auto`, on other hardware
        way += as_it_began({key: pairs[key][0] for key in changed})
    if made:
        raise Changed(
            f'{folder} was made {" and ".join(made)}; {way}add --rerun to do it and what builds on '
            'it again, or name another --workdir to keep both'
        )


def as_it_began(dtypes):
    """How to go on with what other hardware made, in words; dtypes: {field: what it was there}."""
    flags = ' '.join(f'--config.{field}={dtype}' for field, dtype in dtypes.items())
    return f'give {flags}, and so for all models whose dtype is auto, to go on as it began, '


def _others(final, unfinished, guarded):
    """Those of a finished stage's guarded files that are not what was made now."""
    return [
        final / name for name in guarded
        if (final / name).exists() and disk.digest(final / name) != disk.digest(unfinished / name)
    ]
