"""What a training state is, and how one step changes it: the same for both models."""

import dataclasses
import functools
import math
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from train import parallel
from train.progress import say

OPTIMIZERS = ('adam', 'sgd')
MOMENTUM = 0.9  # of sgd


@flax.struct.dataclass
class TrainState:
    """Everything a checkpoint holds.

    Attributes:
        step: optimizer steps done, int32 [].
        params, opt_state: of the network and of optax.
        model_state: batch statistics, {} without any.
        ema: exponential moving average of params, None if not kept.
        best: {'params', 'model_state', 'loss', 'step'} at the lowest validation loss (classifier)
            or distance (generator, whose 'params' are the average) so far, None if the rule for
            the final weights does not ask for it.
        rng: key data, uint32 [2]; folded with the step, never changed.
        skipped: how many steps changed nothing since a gradient was not finite, and the last of
            them, int32 [2].
    """

    step: Any
    params: Any
    opt_state: Any
    model_state: Any
    ema: Any
    best: Any
    rng: Any
    skipped: Any


def warm_start(variables, saved):
    """`variables` with every array of `saved` that has its place and shape; how large a share."""
    found = 0

    def choose(path, fresh):
        nonlocal found
        value = saved
        for key in path:
            value = value.get(key.key) if isinstance(value, dict) else None
        fits = value is not None and np.shape(value) == fresh.shape
        found += fits * fresh.size
        return jnp.asarray(value, fresh.dtype) if fits else fresh

    made = jax.tree_util.tree_map_with_path(choose, variables)
    return made, found / sum(leaf.size for leaf in jax.tree.leaves(variables))


@dataclasses.dataclass(frozen=True)
class InitialState:
    """A `TrainState` at step 0 that is yet to be made: a training that goes on needs none.

    Attributes:
        program: a jitted function; arguments: what it makes the state of.
    """

    program: Any
    arguments: tuple = ()

    def shapes(self):
        """What it will look like on all devices; see `parallel.laid_out`."""
        return parallel.laid_out(self.program.eval_shape(*self.arguments))

    def make(self):
        """The state, on all devices."""
        return parallel.replicate(self.program(*self.arguments))


def init(model, optimizer, inputs, *, seed, start=None, ema=False, keep_best=False):
    """The `InitialState` of a freshly initialised Flax module; see `create`.

    Args:
        inputs: arrays to call the module with, of which only shapes and types count.
        start: variables of another module, which are taken where they fit; see `warm_start`.
    """
    if start:
        _, share = warm_start(jax.eval_shape(model.init, jax.random.key(0), *inputs), start)
        say(f'  {math.floor(100 * share)}% of its weights are those of the run that it starts from')
    seed = np.uint32(seed % 2**32)  # as `jax.random.key` takes a Python int
    return InitialState(_init(model, optimizer, ema, keep_best), (inputs, seed, start))


@functools.lru_cache(maxsize=4)
def _init(model, optimizer, ema, keep_best):
    """One program, compiled once for all seeds; in pieces it would be 66. It takes no time, so it
    is not optimised.
    """

    def make(inputs, seed, start):
        variables = model.init(jax.random.key(seed), *inputs)
        if start:
            variables, _ = warm_start(variables, start)
        return create(variables, optimizer, seed=seed, ema=ema, keep_best=keep_best)

    return jax.jit(make, compiler_options={'xla_backend_optimization_level': 0})


def create(variables, optimizer, *, seed, ema=False, keep_best=False):
    """A state at step 0 from a Flax module's freshly initialised variables."""
    params = variables['params']
    model_state = {k: v for k, v in variables.items() if k != 'params'}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        model_state=model_state,
        ema=_copied(params) if ema else None,
        best=_best(params, model_state, jnp.inf, jnp.zeros((), jnp.int32)) if keep_best else None,
        rng=jax.random.key_data(jax.random.key(seed)),
        skipped=jnp.zeros(2, jnp.int32),
    )


def make_optimizer(*, learning_rate, steps, name='adam', warmup=0, cosine=False, b2=0.999,
                   clip=0.0, weight_decay=0.0):
    """Adam or SGD with momentum; linear warm-up, then constant or cosine to 0 at `steps`.

    It sees all parameters as one vector, which is a tenth of the generator's step on CPU cheaper
    than a few small operations for each of 200. A gradient with a NaN or infinity changes nothing.

    Args:
        learning_rate: at its peak. warmup: steps in which it rises from 0; cosine: whether it falls
            to 0 at `steps`, the training's length.
        name: of `OPTIMIZERS`. adam: Kingma & Ba 2015, with decay b2 of squared gradients. sgd:
            momentum 0.9, as PyTorch has it.
        clip: largest global norm of a gradient; 0: off.
        weight_decay: lambda. adam: every step takes learning rate * lambda of all parameters away
            (AdamW, Loshchilov & Hutter 2019). sgd: lambda times them is added to the gradient.

    Raises:
        ValueError: `name` is none of OPTIMIZERS.
    """
    schedule = learning_rate
    if cosine:
        schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup, steps)
    elif warmup:
        schedule = optax.linear_schedule(0.0, learning_rate, warmup)
    clipping = [optax.clip_by_global_norm(clip)] if clip else []
    decay = [optax.add_decayed_weights(weight_decay)] if weight_decay else []
    if name == 'adam':
        direction = [optax.scale_by_adam(b2=b2), *decay]
    elif name == 'sgd':
        direction = [*decay, optax.trace(MOMENTUM)]
    else:
        raise ValueError(f'optimizer {name!r} is unknown; use {" or ".join(OPTIMIZERS)}')
    rate = optax.scale_by_learning_rate(schedule)
    return padded(optax.flatten(guarded(optax.chain(*clipping, *direction, rate))))


def padded(optimizer):
    """The optimizer of one vector, made a multiple of 8 long by zeros.

    For an odd length XLA on CPU writes a loop that takes twice the time.
    """

    def pad(tree):
        leaves = jax.tree.leaves(tree)
        return tree, jnp.zeros(-sum(leaf.size for leaf in leaves) % 8, leaves[0].dtype)

    def update(grads, opt_state, params):
        (updates, _), opt_state = optimizer.update(pad(grads), opt_state, pad(params))
        return updates, opt_state

    return optax.GradientTransformation(lambda params: optimizer.init(pad(params)), update)


def guarded(optimizer):
    """The optimizer, but a gradient with a NaN or infinity changes nothing, and says so."""
    never = np.iinfo(np.int32).max  # are they let through; `loop.fit` stops the run instead
    return optax.apply_if_finite(optimizer, never)


def make_step(loss_fn, optimizer, *, ema_decay=0.0, accumulate=1):
    """The pmapped training step of either model.

    Args:
        loss_fn: (params, model_state, batch, keys) -> (losses [b], (model_state, metrics)), with
            one PRNG key per example; `batch['weight']` [b] multiplies the losses.
        optimizer: from `make_optimizer` or `guarded`.
        ema_decay: of the parameters' average, warmed up as (1 + step) / (10 + step).
        accumulate: parts that a device's batch is cut into, one after another, to save memory.
    Returns:
        (state, batch) -> (state, {'loss', **metrics}), means over the global batch. A step whose
        gradient is not finite changes nothing but `step` and `skipped`.
    """

    def gradient(params, model_state, batch, keys):
        def objective(params):
            losses, (model_state_, metrics) = loss_fn(params, model_state, batch, keys)
            loss = (losses * batch['weight']).mean()
            return loss, (model_state_, {'loss': loss, **metrics})

        grads, (model_state, metrics) = jax.grad(objective, has_aux=True)(params)
        return model_state, (metrics, grads)

    def step(state, batch):
        keys = example_keys(state.rng, state.step, batch['label'].shape[0])
        if accumulate == 1:
            model_state, means = gradient(state.params, state.model_state, batch, keys)
        else:
            model_state, means = _in_parts(
                lambda model_state, part: gradient(state.params, model_state, *part),
                state.model_state, (batch, keys), accumulate,
            )
        metrics, grads = parallel.mean(means)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        finite = opt_state.last_finite
        params = optax.apply_updates(state.params, updates)  # by 0 if not
        ema = state.ema
        if ema is not None:
            decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))
            ema = optax.incremental_update(params, ema, jnp.where(finite, 1 - decay, 0.0))
        kept = lambda new, old: jnp.where(finite, new, old)  # noqa: E731
        skip = jnp.stack([state.skipped[0] + 1, state.step + 1])
        state = state.replace(
            step=state.step + 1, params=params, opt_state=opt_state, ema=ema,
            model_state=jax.tree.map(kept, model_state, state.model_state),
            skipped=kept(state.skipped, skip),
        )
        return state, metrics

    return parallel.train_step(step)


def _in_parts(work, carry, examples, parts):
    """The last carry and the mean result of work(carry, part) -> (carry, result).

    The parts are as many equal ones of `examples` [b, ...], in order.
    """
    cut = lambda x: x.reshape(parts, -1, *x.shape[1:])  # noqa: E731
    examples = jax.tree.map(cut, examples)
    first = jax.tree.map(lambda x: x[0], examples)
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(work, carry, first)[1]
    )

    def one(state, part):
        carry, total = state
        carry, result = work(carry, part)
        return (carry, jax.tree.map(jnp.add, total, result)), None

    (carry, total), _ = jax.lax.scan(one, (carry, zeros), examples)
    return carry, jax.tree.map(lambda x: x / parts, total)


def example_keys(rng, step, count):
    """One key per example of this device, a function of (rng, step, place in the global batch)."""
    key = jax.random.fold_in(jax.random.wrap_key_data(rng), step)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, parallel.positions(count))


def best(state):
    """What `keep_best` kept among a `TrainState`'s fields; None where no loss was a number, and
    what stands there are the weights of the start."""
    kept = state.get('best')
    return kept if kept and np.isfinite(kept['loss']) else None


def keep_best(state, loss, params=None):
    """The state with `best` replaced by `params` (its own) if `loss` is the lowest so far."""
    if state.best is None or not loss < float(state.best['loss']):
        return state
    params = state.params if params is None else params
    best = _best(params, state.model_state, loss, state.step)
    # where all of the state is, or the next step is compiled anew and, among processes, fails
    return state.replace(best=best | {'loss': parallel.replicate(best['loss'])})


def _best(params, model_state, loss, step):
    return {
        'params': _copied(params), 'model_state': _copied(model_state),
        'loss': jnp.array(loss, jnp.float32), 'step': jnp.copy(step),
    }


def _copied(tree):
    """Donated buffers must be distinct."""
    return jax.tree.map(jnp.copy, tree)
