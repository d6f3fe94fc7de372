"""How many images does each class need, and how are they made on all devices?"""

import jax
import numpy as np

from data import augment, pipeline
from generation import priors, samplers
from train import parallel


def fill_plan(train_counts, fill):
    """Synthetic images each class needs so that real + synthetic reach one count, int [C].

    Args:
        train_counts: real training images a class, int [C].
        fill: 'largest' (the largest class's count), a number ('200'), or a multiple of the
            largest class's count ('2x').

    Raises:
        ValueError: `fill` is none of these.
    """
    train_counts = np.asarray(train_counts)
    largest, fill = train_counts.max(), str(fill)
    try:
        if fill == 'largest':
            goal = largest
        elif fill.endswith('x'):
            goal = round(float(fill[:-1]) * largest)
        else:
            goal = int(fill)
        if not 1 <= goal < 2**31:
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError(
            f"config.synthesis.fill={fill!r} is not 'largest', a number of images or a multiple "
            "such as '2x'"
        ) from None
    return np.maximum(goal - train_counts, 0)


def make_sampler(predict_x0, prior, *, sampler, steps, guidance_scale, schedule,
                 guidance_interval, spacing, seed, batch_size):
    """(params, labels int [N], seeds int [N]) -> uint8 images [N, H, W, C], on all devices.

    Two more arguments may follow: progress, called as progress(images done, images in all), and
    once, which is asked for each batch as once({'label', 'seed'}, function that draws it) and may
    know its images already.

    An image depends on (params, label, its own seed) and not on the batch it is made in, but for
    rounding: in another batch size some are a grey level off here and there.

    Args:
        predict_x0: (params, x_t, log_snr [B], labels [B]) -> x_0.
        prior: the `priors.Prior` of its training images.
        sampler, steps, schedule, spacing: see `samplers.sample`; guidance_scale, guidance_interval:
            see `samplers.guided`.
        seed: of all noise, together with each image's own seed, in [0, 2^32).
        batch_size: over all devices; the last batch is padded.
    """
    root, num_classes = jax.random.key(seed), len(prior.mean)

    def draw(given, batch):
        params, prior = given
        keys = jax.vmap(jax.random.fold_in, (None, 0))(root, batch['seed'])

        def denoise(x_t, log_snr, labels):
            return predict_x0(params, x_t, log_snr, labels)

        guided = samplers.guided(
            denoise, batch['label'], num_classes, guidance_scale, guidance_interval, schedule
        )
        # apart from the sampler's noise, whose numbers go up to `steps`
        apart = jax.vmap(jax.random.fold_in, (0, None))(keys, steps + 1)
        start = priors.draw(prior, batch['label'], apart)
        images = samplers.sample(
            guided, keys, start, sampler=sampler, steps=steps, schedule=schedule,
            spacing=spacing, interval=guidance_interval if guidance_scale != 1 else (0.0, 1.0),
        )
        return augment.to_uint8(images)

    mapped, prior = parallel.mapped(draw), parallel.everywhere(prior)

    def draw_batch(given, batch):
        local = pipeline.local_slice(batch_size, **parallel.place())
        batch = {name: values[local] for name, values in batch.items()}
        return parallel.unshard(mapped(given, parallel.shard(batch)))

    def make(params, labels, seeds, progress=lambda done, total: None, once=lambda _, draw: draw()):
        given, images = (parallel.everywhere(params), prior), []
        for first in range(0, len(labels), batch_size):
            rows = np.arange(first, first + batch_size) % len(labels)
            batch = {'label': np.asarray(labels, np.int32)[rows],
                     'seed': np.asarray(seeds, np.uint32)[rows]}
            done = min(first + batch_size, len(labels))

            def drawn(batch=batch, done=done):
                found = draw_batch(given, batch)
                progress(done, len(labels))  # not of what `once` knows, which takes no time
                return found

            images.append(once(batch, drawn))
        return np.concatenate(images)[: len(labels)]

    return make


def fill(plan, make, check, *, rounds):
    """Makes images until every class has what it needs, replacing the rejected ones.

    Args:
        plan: accepted images each class needs, int [C].
        make: (labels [N], seeds [N]) -> images [N, H, W, C].
        check: (images, labels, accepted images, their labels) -> (reasons [N] of str, '' where
            the image stays; scores {name: [N]}).
        rounds: at most; after them classes may still lack images.
    Returns:
        Rows of everything made: {'images', 'labels', 'seeds', 'reasons', **scores}, arrays [N].
    """
    num_classes = len(plan)
    rows, made = [], np.zeros(num_classes, int)
    accepted = np.zeros(num_classes, int)
    for round_ in range(rounds):
        short = plan - accepted
        # from the second round on, ask for more, as so few of the class were accepted
        rate = np.maximum(accepted, 1) / np.maximum(made, 1) if round_ else np.ones(num_classes)
        ask = np.ceil(short / np.clip(rate, 0.25, 1)).astype(int)
        if not ask.sum():
            break
        labels = np.repeat(np.arange(num_classes), ask)
        serial = np.concatenate([m + np.arange(n) for m, n in zip(made, ask, strict=True)])
        seeds = serial * num_classes + labels  # unique, whatever the plan
        images = make(labels, seeds)
        kept = [row['images'][row['reasons'] == ''] for row in rows]
        kept_labels = [row['labels'][row['reasons'] == ''] for row in rows]
        reasons, scores = check(
            images, labels,
            np.concatenate(kept) if rows else images[:0],
            np.concatenate(kept_labels) if rows else labels[:0],
        )
        reasons = _drop_surplus(reasons, labels, short)
        rows.append(
            {'images': images, 'labels': labels, 'seeds': seeds, 'reasons': reasons, **scores}
        )
        made += ask
        accepted += np.bincount(labels[reasons == ''], minlength=num_classes)
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]} if rows else {}


def _drop_surplus(reasons, labels, short):
    """Marks as 'surplus' the good images that a class has beyond its need."""
    reasons = np.array(reasons, dtype=object)
    for label in np.unique(labels):
        good = np.flatnonzero((labels == label) & (reasons == ''))
        reasons[good[short[label] :]] = 'surplus'
    return reasons.astype(str)
