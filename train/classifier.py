"""The classifier's loss: categorical cross-entropy. The same for every arm."""

import functools

import jax
import jax.numpy as jnp
import optax

from data import augment, pipeline
from eval import predict
from models import cnn, resnet
from train import checkpoints, loop, parallel
from train import state as state_lib

NETWORKS = ('cnn', 'resnet32')


def make_model(config, num_classes):
    """The network that `config.classifier` describes."""
    dtype = parallel.compute_dtype(config.dtype)
    if config.network == 'cnn':
        return cnn.CNN(num_classes, tuple(config.widths), config.hidden, config.dropout, dtype)
    if config.network == 'resnet32':
        return resnet.ResNet32(num_classes, axis_name=parallel.AXIS, dtype=dtype)
    raise ValueError(
        f'config.classifier.network={config.network!r} is unknown; use {" or ".join(NETWORKS)}'
    )


@functools.lru_cache(maxsize=4)
def _compiled(config, num_classes):
    """(model, optimizer, step): built, and so compiled, once for all arms and seeds."""
    model = make_model(config, num_classes)
    optimizer = state_lib.make_optimizer(
        learning_rate=config.learning_rate, steps=config.steps, warmup=config.warmup_steps,
        cosine=config.cosine_decay,
    )  # fmt: skip
    step = state_lib.make_step(make_loss(model, config), optimizer)
    return model, optimizer, step


def train(folder, config, sets, shares, weights, validation, *, num_classes, seed, update):
    """Trains one classifier into `folder`, or goes on where it was; see `loop.fit`.

    Args:
        config: a frozen `config.classifier`.
        sets, shares, weights: the arm's `ImageSet`s, their shares of a batch, their loss weights.
        validation: the `ImageSet` that chooses the final weights.
        seed: of initialisation, data order and dropout.
    Returns:
        (model, variables) with the final weights by `config.select`.
    """
    model, optimizer, step = _compiled(config, num_classes)

    def batches(start_step):
        index, count = parallel.process()
        return pipeline.train_batches(
            sets, shares, weights=weights, batch_size=config.batch_size, seed=seed,
            start_step=start_step, process_index=index, process_count=count,
        )  # fmt: skip

    def evaluate(state):
        variables = {'params': state.params, **state.model_state}
        probabilities, _ = predict.predict(model, variables, validation, config.batch_size)
        return predict.validation_metrics(probabilities, validation.labels)

    state = loop.fit(
        create_state(model, optimizer, config, validation.images.shape[1:], seed), step, batches,
        steps=config.steps, folder=folder, save_every=config.save_every,
        log_every=config.log_every, update=update, evaluate=evaluate,
        evaluate_every=config.validate_every,
    )  # fmt: skip
    return model, final_variables(vars(state))


def load(folder, config, num_classes):
    """(model, variables) of a classifier that `train` finished in `folder`."""
    state = checkpoints.load(folder / 'checkpoints')
    return make_model(config, num_classes), final_variables(state)


def create_state(model, optimizer, config, image_shape, seed):
    """A state at step 0; image_shape = (H, W, C)."""
    variables = state_lib.init(model)(jax.random.key(seed), jnp.zeros((1, *image_shape)))
    keep_best = config.select == 'best_validation_loss'
    return state_lib.create(variables, optimizer, seed=seed, keep_best=keep_best)


def final_variables(state):
    """The weights that the state's rule selects: lowest validation loss, or the last step.

    Args:
        state: a `TrainState`'s fields as a dict; without 'best' the last step counts.
    """
    chosen = state.get('best') or state
    return {'params': chosen['params'], **chosen.get('model_state', {})}


def make_loss(model, config):
    """(params, model_state, batch, keys) -> (losses [b], (model_state, {'accuracy'}))."""

    def loss_fn(params, model_state, batch, keys):
        images = augment.to_float(batch['image'])
        if config.augment == 'flip_shift':
            k_augment = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
            images, _ = augment.flip_shift(
                k_augment, images, flip=config.augment_flip, shift=config.augment_shift
            )
        (logits, _), updates = model.apply(
            {'params': params, **model_state}, images, keys=keys, mutable=list(model_state)
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch['label'])
        correct = (logits.argmax(-1) == batch['label']).mean()
        return losses, (dict(updates), {'accuracy': correct})

    return loss_fn
