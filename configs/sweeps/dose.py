"""How many synthetic images, and under how much guidance? Six doses, two scales: 12 runs.

    python main.py --config=configs/augmented.py:digits --sweep=configs/sweeps/dose.py

The generator, its judge and the baseline are trained once; where samples choose the generator's
weights (`generator.select`), one generator a scale, since they are drawn at it.
"""

from configs.sweeps import grid


def get_sweep():
    """The fields that each run sets."""
    return grid({
        'synthesis.guidance_scale': [1.5, 3.0],
        'synthesis.fill': ['largest', '1.5x', '2x', '3x', '4x', '6x'],
    })
