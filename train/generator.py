"""The generator's loss: denoise images of a known class (Ho et al. 2020; Ho & Salimans 2022)."""

import jax
import jax.numpy as jnp
import numpy as np

from data import augment, pipeline
from generation import diffusion
from models import dit, unet
from train import checkpoints, loop, parallel
from train import state as state_lib

CODE = (
    *loop.CODE, 'train/generator.py', 'generation/diffusion.py', 'train/generating.py',
)
BACKBONES = {  # each network, and the fields of `config.generator` that not all read
    'unet': (unet.UNet, ('channels', 'multipliers', 'blocks', 'attention', 'class_map')),
    'dit': (dit.DiT, ('width', 'depth')),
}


def make_model(config, num_classes):
    """The network that `config.generator` describes."""
    network, own = BACKBONES[config.backbone]
    return network(
        num_classes=num_classes, dtype=parallel.compute_dtype(config.dtype),
        **{name: config[name] for name in ('patch_size', 'dropout', 'remat', *own)},
    )


def build(config, num_classes):
    """(model, optimizer, pmapped step) of `config.generator`; see `state.make_step`."""
    model = make_model(config, num_classes)
    optimizer = state_lib.make_optimizer(
        learning_rate=config.learning_rate, steps=config.steps, warmup=config.warmup_steps,
        cosine=config.cosine_decay, b2=config.adam_b2, clip=config.clip_norm,
    )
    step = state_lib.make_step(
        make_loss(model, config), optimizer, ema_decay=config.ema_decay,
        accumulate=config.accumulate,
    )
    return model, optimizer, step


def train(folder, config, train_set, validation, *, num_classes, update, watch=None, init=None):
    """Trains the generator into `folder`, or goes on where it was; see `loop.fit`.

    Nothing checks that what lies there comes from these images and settings: give each its own.

    Args:
        config: a frozen `config.generator`; select='best_validation' of it needs `watch`.
        train_set: the `ImageSet` to learn; validation: one whose denoising loss is only logged,
            at `loop.VALIDATED` looks, or four an image if these are fewer; one image at least.
        update: called as update(step, steps, **values); see `progress.progress`.
        watch: (EMA parameters, step) -> ({name: value}, loss to choose the best by), asked every
            `config.sample_every` steps and at the last; None: never.
        init: parameters of another generator, to start from where they fit.
    """
    model, optimizer, step = build(config, num_classes)
    largest = max(np.bincount(train_set.labels))
    class_counts = np.full(num_classes, largest) if config.class_balanced else None

    def batches(start_step):
        return pipeline.train_batches(
            [train_set], [1.0], batch_size=config.batch_size, seed=config.seed,
            class_counts=class_counts, start_step=start_step, **parallel.place(),
        )

    loop.fit(
        initial_state(model, optimizer, config, train_set.images.shape[1:], init), step, batches,
        config, folder=folder, update=update,
        evaluate=_make_evaluate(make_loss(model, config), validation, config.batch_size),
        sample=watch and (lambda state: watch(state.ema, int(state.step))),
    )


def load(folder, steps=None):
    """(EMA parameters, their step) of a generator that `train` finished in `folder`.

    By the rule it was trained under (`config.select`); the last step where no sample was good
    enough to be the best.

    Args:
        steps: of its training; None: as many as its newest checkpoint has.

    Raises:
        ValueError: it holds a classifier.
    """
    state = checkpoints.load(folder / 'checkpoints', steps)
    if 'ema' not in state:
        raise ValueError(f'{folder} holds no generator')
    if kept := state_lib.best(state):
        return kept['params'], int(kept['step'])
    return state['ema'], int(state['step'])


def initial_state(model, optimizer, config, image_shape, init=None):
    """The `state.InitialState`; image_shape = (H, W, C)."""
    return state_lib.init(
        model, optimizer, _inputs(image_shape), seed=config.seed,
        start=init and {'params': init}, ema=True, keep_best=config.select == 'best_validation',
    )


def shapes(model, image_shape):
    """Of the model's variables, as jax.ShapeDtypeStruct; image_shape = (H, W, C)."""
    return jax.eval_shape(model.init, jax.random.key(0), *_inputs(image_shape))


def _inputs(image_shape):
    one = np.zeros(1, np.float32)
    return (
        np.zeros((1, *image_shape), np.float32), one, one.astype(np.int32),
        np.zeros((1, augment.CONDITION_SIZE), np.float32),
    )


def _make_evaluate(loss_fn, validation, batch_size, repeats=4):
    """state -> {'val_loss'}: the EMA's denoising loss, on the same images and noise each time.

    Each image is looked at `repeats` times, or as often as `loop.VALIDATED` looks allow.
    """
    some = validation.some(loop.VALIDATED)
    repeats = max(1, min(repeats, loop.VALIDATED // len(some)))

    def losses(params, batch):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), batch['draw'])
        return loss_fn(params, {}, batch, keys, train=False)[0] * batch['weight']

    mapped = parallel.mapped(losses)

    def evaluate(state):
        total = 0.0
        for repeat in range(repeats):
            for batch in pipeline.eval_batches(
                some, batch_size=batch_size, **parallel.place()
            ):
                batch['draw'] = batch.pop('index') * repeats + repeat
                loss = parallel.unshard(mapped(state.ema, parallel.shard(batch)))
                total += float(loss.sum())
        return {'val_loss': total / (repeats * len(some))}

    return evaluate


def make_loss(model, config):
    """(params, model_state, batch, keys) -> (losses [b], (model_state, {})); see `make_step`."""

    def loss_fn(params, model_state, batch, keys, train=True):
        x_0 = augment.to_float(batch['image'])
        # few draws: each one inlines a generator that takes XLA on CPU a second to compile
        t, u_label = jax.vmap(lambda key: jax.random.uniform(key, (2,)), out_axes=1)(keys)
        k_eps, k_augment = (jax.vmap(jax.random.fold_in, (0, None))(keys, i) for i in (1, 2))
        eps = jax.vmap(lambda key: jax.random.normal(key, x_0.shape[1:]))(k_eps)
        condition = jnp.zeros((x_0.shape[0], augment.CONDITION_SIZE))
        label = batch['label']
        if train:
            x_0, condition = augment.flip_shift(
                k_augment, x_0, flip=config.augment_flip, shift=config.augment_shift,
                rotate=config.augment_rotate, scale=config.augment_scale,
                probability=config.augment_probability,
            )
            label = jnp.where(u_label < config.label_dropout, model.num_classes, label)
        log_snr = diffusion.log_snr(t, config.schedule)
        level = diffusion.expand(log_snr)
        x_t = diffusion.q_sample(x_0, eps, level)

        def denoise(label):
            return model.apply(
                {'params': params}, x_t, log_snr, label, condition, keys=keys if train else None
            )

        output = denoise(label)
        error = output - diffusion.target(x_0, eps, level, config.prediction)
        loss = jnp.square(error).mean(axis=(1, 2, 3))
        if train and config.cbdm_weight:
            k_other = jax.vmap(jax.random.fold_in, (0, None))(keys, 3)
            draw = lambda key: jax.random.randint(key, (), 0, model.num_classes)  # noqa: E731
            balancing = diffusion.class_balancing(
                output, denoise(jax.vmap(draw)(k_other)), t, config.cbdm_weight,
                config.cbdm_commitment,
            )
            loss += jnp.where(label < model.num_classes, balancing, 0.0)  # "no class" is none
        weight = diffusion.loss_weight(log_snr, config.prediction, config.min_snr_gamma)
        return weight * loss, (model_state, {})

    return loss_fn


def make_predict_x0(model, config):
    """(params, x_t, log_snr [B], labels [B]) -> x_0: the trained network as a denoiser."""

    def predict_x0(params, x_t, log_snr, labels):
        condition = jnp.zeros((x_t.shape[0], augment.CONDITION_SIZE))
        output = model.apply({'params': params}, x_t, log_snr, labels, condition)
        return diffusion.to_x0(output, x_t, diffusion.expand(log_snr), config.prediction)

    return predict_x0
