"""How the weights of a Flax network reach its PyTorch twin of `benchmarks.peers`.

A twin and those of its layers that Flax has as modules say in `named()` what Flax calls their
parts; the rest is the layout of an array.
"""

import numpy as np
import torch
from torch import nn


def copy_weights(layer, params):
    """Fills a twin, or a layer of one, with its Flax parameters, a nested dict; in place."""
    if hasattr(layer, 'named'):
        for name, part in layer.named().items():
            copy_weights(part, params[name])
    elif isinstance(layer, nn.Parameter):
        _fill(layer, params)
    elif isinstance(layer, nn.Embedding):
        _fill(layer.weight, params['embedding'])
    elif isinstance(layer, nn.GroupNorm):
        _fill(layer.weight, params['scale'])
        _fill(layer.bias, params['bias'])
    else:
        order = (3, 2, 0, 1) if isinstance(layer, nn.Conv2d) else (1, 0)
        _fill(layer.weight, np.transpose(params['kernel'], order))
        if layer.bias is not None:
            _fill(layer.bias, params['bias'])


def _fill(parameter, values):
    with torch.no_grad():
        parameter.copy_(torch.tensor(np.asarray(values)))


def numbered(name, layers, first=0):
    """The names that Flax gives to layers of a kind."""
    return {f'{name}_{i}': layer for i, layer in enumerate(layers, first)}
