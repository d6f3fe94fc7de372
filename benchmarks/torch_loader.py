"""PyTorch's DataLoader over decoded arrays: what the input pipeline is compared with.

A module of its own, because workers find what they are sent by the name of its module.
"""

import torch
from torch.utils import data


class Decoded(data.Dataset):
    """uint8 images [N, S, S, 3] and labels [N]; one number or a list of them gives the rows."""

    def __init__(self, images, labels):
        self.images, self.labels = torch.from_numpy(images), torch.from_numpy(labels)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, rows):
        return self.images[rows], self.labels[rows]


def endless(images, batch_size, workers):
    """Endless shuffled batches, each epoch anew, the last part of an epoch left out.

    Args:
        images: an `ImageSet` in memory.
        workers: processes beside this one, 0: none, which collate item by item, as the manual
            shows it; None: no process, and the rows of a batch gathered at once, the quickest way.
    """
    torch.set_num_threads(1)  # for its own good: threads meeting take longer than such small copies
    dataset = Decoded(images.images, images.labels)
    if workers is None:
        sampler = data.BatchSampler(data.RandomSampler(dataset), batch_size, drop_last=True)
        loader = data.DataLoader(dataset, sampler=sampler, batch_size=None)
    else:
        # spawned: a fork of a process in which JAX has started its threads can hang
        loader = data.DataLoader(
            dataset, batch_size, shuffle=True, drop_last=True, num_workers=workers,
            persistent_workers=workers > 0, multiprocessing_context='spawn' if workers else None,
        )
    while True:
        yield from loader
