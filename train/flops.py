"""How much arithmetic a function is, wherever it runs: XLA does not say for CUDA (jax 0.11)."""

import math

import jax


def count(function, *arguments):
    """Floating-point operations of a call's matrix products and convolutions; nothing is computed.

    A mapped function's are those of one device. Everything else in a network is negligible beside
    them. As PyTorch's counter does, padding counts as if it were image.

    Args:
        arguments: arrays, or `jax.ShapeDtypeStruct`s in their place.
    """
    return _operations(jax.make_jaxpr(function)(*arguments).jaxpr)


def _operations(jaxpr):
    total = 0
    for equation in jaxpr.eqns:
        inputs, params = [x.aval.shape for x in equation.invars], equation.params
        if equation.primitive.name == 'dot_general':
            (contracted, _), _ = params['dimension_numbers']
            total += 2 * equation.outvars[0].aval.size * math.prod(inputs[0][i] for i in contracted)
        elif equation.primitive.name == 'conv_general_dilated':
            outputs = inputs[1][params['dimension_numbers'].rhs_spec[0]]
            each = math.prod(inputs[1]) // outputs  # multiplications a value of the result
            # between a stretched input's values there are zeros, the rest of them
            each /= math.prod(params['lhs_dilation'])
            total += 2 * equation.outvars[0].aval.size * each
        times = params['length'] if equation.primitive.name == 'scan' else 1
        for value in params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, 'jaxpr', inner)  # a closed one holds it
                if hasattr(inner, 'eqns'):
                    total += times * _operations(inner)
    return total
