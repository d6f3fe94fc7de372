"""The classifier's loss: categorical cross-entropy, logit-adjusted if asked for."""

import functools
from collections.abc import Callable

import jax
import numpy as np
import optax

from data import augment, pipeline
from eval import predict
from models import cnn, resnet
from train import checkpoints, loop, parallel
from train import state as state_lib

CODE = (*loop.CODE, 'train/classifier.py', 'eval/predict.py')
# Each network, and the fields of `config.classifier` that not all read.
NETWORKS: dict[str, tuple[Callable, tuple]] = {
    'cnn': (cnn.CNN, ('widths', 'hidden', 'dropout', 'first_kernel')),
    'resnet32': (functools.partial(resnet.ResNet32, axis_name=parallel.AXIS), ()),
}


def make_model(config, num_classes):
    """The network that `config.classifier` describes."""
    network, own = NETWORKS[config.network]
    return network(
        num_classes=num_classes, dtype=parallel.compute_dtype(config.dtype),
        **{name: config[name] for name in own},
    )


@functools.lru_cache(maxsize=4)
def build(config, num_classes, prior=None):
    """(model, optimizer, pmapped step) of `config.classifier`; see `state.make_step`.

    Built, and so compiled, once for all arms and seeds that it fits.
    """
    model = make_model(config, num_classes)
    optimizer = state_lib.make_optimizer(
        name=config.optimizer, learning_rate=config.learning_rate, steps=config.steps,
        warmup=config.warmup_steps, cosine=config.cosine_decay, weight_decay=config.weight_decay,
    )
    step = state_lib.make_step(make_loss(model, config, prior), optimizer)
    return model, optimizer, step


def train(folder, config, sets, shares, weights, validation, *, num_classes, seed, update,
          class_counts=None, init=None):
    """Trains one classifier into `folder`, or goes on where it was; see `loop.fit`.

    Args:
        config: a frozen `config.classifier`.
        sets, shares, weights: the arm's `ImageSet`s, their shares of a batch, their loss weights;
            after `config.synthetic_until` of the steps only the first set is seen, as it is.
        validation: the `ImageSet` that chooses the final weights where `config.select` asks for it.
        seed: of initialisation, data order, augmentation and dropout.
        class_counts: images of each class in an epoch, by repeating them, int [C], until then;
            None: as many as there are.
        init: variables of another classifier, to start from where they fit.
    Returns:
        (model, variables) with the final weights by `config.select`.
    """
    prior = None  # so that arms that do not need it share one compiled step
    if config.logit_adjustment:
        prior = class_prior(sets, np.multiply(shares, weights), num_classes, class_counts)
    model, optimizer, step = build(config, num_classes, prior)
    some = validation.some(loop.VALIDATED)

    def stream(number, class_counts):
        return lambda start_step: pipeline.train_batches(
            sets[:number], shares[:number], weights=weights[:number],
            batch_size=config.batch_size, seed=seed, class_counts=class_counts,
            start_step=start_step, **parallel.place(),
        )

    def batches(start_step):
        switch = round(config.synthetic_until * config.steps)
        first, then = stream(len(sets), class_counts), stream(1, None)
        return pipeline.in_turn(first, then, switch, start_step)

    def evaluate(state):
        decides = config.select != 'last' or int(state.step) == config.steps
        images = validation if decides else some
        variables = {'params': state.params, **state.model_state}
        probabilities, _ = predict.predict(model, variables, images, config.batch_size)
        left_out = np.power(prior, config.logit_adjustment) if prior else None
        return predict.validation_metrics(probabilities, images.labels, left_out)

    state = loop.fit(
        initial_state(model, optimizer, config, validation.images.shape[1:], seed, init),
        step, batches, config, folder=folder, update=update, evaluate=evaluate,
    )
    return model, final_variables(vars(state))


def load(folder, config, num_classes):
    """(model, variables) of a classifier that `train` finished in `folder`."""
    state = checkpoints.load(folder / 'checkpoints', config.steps)
    return make_model(config, num_classes), final_variables(state)


def shapes(model, image_shape):
    """Of the model's variables, as jax.ShapeDtypeStruct; image_shape = (H, W, C)."""
    return jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, *image_shape), np.float32))


def initial_state(model, optimizer, config, image_shape, seed, init=None):
    """The `state.InitialState`; image_shape = (H, W, C)."""
    return state_lib.init(
        model, optimizer, (np.zeros((1, *image_shape), np.float32),), seed=seed, start=init,
        keep_best=config.select == 'best_validation_loss',
    )


def final_variables(state):
    """The weights that the state's rule selects: lowest validation loss, or the last step.

    Args:
        state: a `TrainState`'s fields as a dict; without a best step the last one counts.
    """
    chosen = state_lib.best(state) or state
    return {'params': chosen['params'], **chosen.get('model_state', {})}


def class_prior(sets, shares, num_classes, class_counts=None):
    """Share of each class in what is trained on, a tuple of C numbers above 0.

    Of the training split alone it is the share of its images. A class that has none counts as half
    of the rarest, for its logarithm.
    """
    prior = np.zeros(num_classes)
    for image_set, share in zip(sets, shares, strict=True):
        counts = np.bincount(image_set.labels, minlength=num_classes)
        counts = counts if class_counts is None else np.asarray(class_counts)
        prior += share * counts / counts.sum()
    prior = np.maximum(prior, prior[prior > 0].min() / 2)
    return tuple((prior / prior.sum()).tolist())


def make_loss(model, config, prior=None):
    """(params, model_state, batch, keys) -> (losses [b], (model_state, {'accuracy'})).

    With `config.logit_adjustment` tau above 0, log `prior` [C] times tau is added to the logits in
    the loss and in nothing else (Menon et al. 2021, arXiv 2007.07314, eq. 10): what the network
    then predicts by is how much likelier a class is than its prior.
    """
    tau = config.logit_adjustment
    adjustment = tau * np.log(prior).astype(np.float32) if tau else np.float32(0)

    def loss_fn(params, model_state, batch, keys):
        images = augment_images(keys, augment.to_float(batch['image']), config)
        (logits, _), updates = model.apply(
            {'params': params, **model_state}, images, keys=keys, mutable=list(model_state)
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(
            logits + adjustment, batch['label']
        )
        correct = (logits.argmax(-1) == batch['label']).mean()
        return losses, (dict(updates), {'accuracy': correct})

    return loss_fn


def augment_images(keys, images, config):
    """`config.augment` of images [b, H, W, 3] in [-1, 1], by the examples' keys [b]."""
    if config.augment == 'none':
        return images
    k_flip, k_rand = (jax.vmap(jax.random.fold_in, (0, None))(keys, data) for data in (1, 2))
    images, _ = augment.flip_shift(
        k_flip, images, flip=config.augment_flip, shift=config.augment_shift
    )
    if config.augment == 'randaugment':
        images = augment.rand_augment(
            k_rand, images, ops=config.randaugment_ops, magnitude=config.randaugment_magnitude,
            cutout=config.cutout,
        )
    return images
