"""Classical augmentation, on the device, inside the jitted step. One PRNG key per image."""

import jax
import jax.numpy as jnp

CONDITION_SIZE = 5  # [flipped, shift down, shift right, rotation, scale]
GREY = 127.5  # what fills the places that an image does not reach, in [0, 255]


def to_float(images):
    """uint8 [..., C] in [0, 255] -> float32 in [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1


def to_uint8(images):
    """float in [-1, 1] -> uint8 in [0, 255]; the inverse of `to_float`."""
    return jnp.clip(jnp.round((images + 1) * 127.5), 0, 255).astype(jnp.uint8)


def whole_pixels(shift, side):
    """The pixels that a shift, a fraction of the side, comes to."""
    return int(round(shift * side))


def flip_shift(keys, images, *, flip, shift, rotate=0.0, scale=0.0, probability=1.0):
    """Mirrors, shifts, rotates and scales images, and says by how much.

    Args:
        keys: PRNG keys [B].
        images: [B, H, W, C], of any dtype; float32 with `rotate` or `scale`.
        flip: whether to mirror left-right, half of the time.
        shift: largest shift as a fraction of the side, in whole pixels; edges are repeated.
        rotate: largest angle in degrees, either way; scale: largest enlargement or reduction, as
            a fraction. With both 0 no pixel is interpolated.
        probability: of each of the four being applied to an image.
    Returns:
        (images, condition float32 [B, CONDITION_SIZE] in [-1, 1]): all-zero conditions mark
        untouched images, so that a generator told the condition learns the augmented images
        without leaking them into its samples (Karras et al. 2022, appendix F).
    """
    side = images.shape[1]
    most = whole_pixels(shift, side)

    def one(key, image):
        u = jax.random.uniform(key, (4,))
        flipped = (u[0] < 0.5 * probability) & flip
        offset = jnp.floor(u[2:] * (2 * most + 1)).astype(jnp.int32) - most
        offset = jnp.where(u[1] < probability, offset, 0)
        image = jnp.where(flipped, image[:, ::-1], image)
        condition = jnp.array([flipped, offset[0] / max(most, 1), offset[1] / max(most, 1), 0, 0])
        if rotate or scale:
            turn, zoom = _symmetric(jax.random.fold_in(key, 1), probability)
            matrix = _similarity(turn * rotate, (1 + scale) ** zoom, offset, *image.shape[:2])
            condition = condition.at[3:].set(jnp.array([turn * (rotate > 0), zoom * (scale > 0)]))
            return _warp(image, matrix, fill=None), condition
        padded = jnp.pad(image, ((most, most), (most, most), (0, 0)), mode='edge')
        start = (most - offset[0], most - offset[1], 0)
        return jax.lax.dynamic_slice(padded, start, image.shape), condition.astype(jnp.float32)

    return jax.vmap(one)(keys, images)


def _similarity(degrees, zoom, offset, height, width):
    """`_warp`'s matrix [2, 3] for turning clockwise and enlarging about the middle, then moving."""
    cos, sin = jnp.cos(jnp.deg2rad(degrees)) / zoom, jnp.sin(jnp.deg2rad(degrees)) / zoom
    inverse, middle = jnp.array([[cos, sin], [-sin, cos]]), jnp.array([width / 2, height / 2])
    start = middle - (inverse * (middle + offset[::-1])).sum(1)  # (down, right) -> (x, y)
    return jnp.concatenate([inverse, start[:, None]], axis=1)


def _symmetric(key, probability):
    """Two numbers uniform in [-1, 1], each with this probability, else 0."""
    u = jax.random.uniform(key, (4,))
    return jnp.where(u[:2] < probability, 2 * u[2:] - 1, 0.0)


def rand_augment(keys, images, *, ops, magnitude, cutout):
    """`ops` random operations of `OPERATIONS` on each image, then a grey square.

    RandAugment (Cubuk et al. 2020, arXiv 1909.13719) with torchvision's strengths, then cutout
    (DeVries & Taylor 2017, arXiv 1708.04552). The operations are Pillow's on 8-bit images, within
    one grey level (Pillow cuts off, this rounds); the geometric ones interpolate bilinearly and
    fill with mid grey.

    Args:
        keys: PRNG keys [B].
        images: float [B, H, W, 3] in [-1, 1].
        ops: operations an image; one may come up twice.
        magnitude: their strength in [0, 30].
        cutout: side of the square as a fraction of the image's; 0: off. Its centre is anywhere in
            the image, so part of it may lie outside.
    """

    def one(key, image):
        u = jax.random.uniform(key, (2 * ops + 2,))  # XLA takes a second to compile each draw
        which = jnp.floor(u[:ops] * len(OPERATIONS)).astype(jnp.int32)
        strength = jnp.where(u[ops : 2 * ops] < 0.5, -1, 1) * (magnitude / 30)
        pixels, _ = jax.lax.scan(
            lambda pixels, drawn: (operate(pixels, *drawn), None),
            jnp.round((image + 1) * 127.5), (which, strength),
        )
        rows, columns = (
            _around(jnp.floor(v * side), whole_pixels(cutout, side), side)
            for v, side in zip(u[2 * ops :], image.shape)
        )
        hidden = rows[:, None, None] & columns[None, :, None]
        return jnp.where(hidden, 0.0, pixels / 127.5 - 1)

    # Under vmap each image goes through all operations. A CPU is quicker with one image at a time,
    # which goes through its own.
    if jax.default_backend() == 'cpu':
        return jax.lax.map(lambda drawn: one(*drawn), (keys, images))
    return jax.vmap(one)(keys, images)


def operate(pixels, which, strength):
    """One operation on whole grey levels, float [H, W, 3] in [0, 255] to the same.

    Args:
        which: its place in `OPERATIONS`, int [].
        strength: in [-1, 1]; the sign counts for those that have a direction.
    """
    # Under vmap a switch computes every branch, so the geometric ones share the warp. The index is
    # clamped: colours leave the place, and geometric operations the colours as they are.
    matrix = jax.lax.switch(which, list(GEOMETRIC.values()), strength, *pixels.shape[:2])
    colours = [lambda pixels, _: pixels, *COLOURS.values()]
    # Without the barrier XLA on CPU fuses the warp into what follows, and does it again for each.
    pixels = jax.lax.optimization_barrier(_warp(pixels, matrix))
    pixels = jax.lax.switch(which - len(GEOMETRIC) + 1, colours, pixels, strength)
    return jnp.clip(jnp.round(pixels), 0, 255)


def _around(centre, length, side):
    """Which of `side` places belong to the `length` around `centre`, bool [side]."""
    place = jnp.arange(side) - (centre - length // 2)
    return (place >= 0) & (place < length)


def _warp(pixels, matrix, fill=GREY):
    """The image at matrix @ (x, y, 1) for each place (x, y), as Pillow's AFFINE and BILINEAR.

    Places outside the image are `fill`, or repeat its edge if that is None.
    """
    height, width = pixels.shape[:2]
    y, x = jnp.mgrid[:height, :width] + 0.5  # the middle of a pixel
    # no matrix products here: by default a TPU rounds their factors, places, to bfloat16
    u, v = (a * x + b * y + c for a, b, c in matrix)
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    place = jnp.stack([v, u]) - 0.5
    warped = jax.vmap(
        lambda channel: jax.scipy.ndimage.map_coordinates(
            channel, place, 1, mode='nearest'  # type: ignore[arg-type]  # takes an array, too
        ), -1, -1
    )(pixels)
    return warped if fill is None else jnp.where(inside[..., None], warped, fill)


def _shear_x(s, height, width):
    return jnp.array([[1, 0.3 * s, 0], [0, 1, 0]])


def _shear_y(s, height, width):
    return jnp.array([[1, 0, 0], [0.3 * s, 1, 0]])


def _translate_x(s, height, width):
    return jnp.array([[1, 0, jnp.trunc(150 / 331 * s * width)], [0, 1, 0]])


def _translate_y(s, height, width):
    return jnp.array([[1, 0, 0], [0, 1, jnp.trunc(150 / 331 * s * height)]])


def _rotate(s, height, width):
    """By up to 30 degrees about the middle, counter-clockwise where s > 0."""
    cos, sin = jnp.cos(s * jnp.pi / 6), jnp.sin(s * jnp.pi / 6)
    x, y = width / 2, height / 2
    return jnp.array([[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y]])


def _identity(s, height, width):
    return jnp.eye(2, 3)


def _blend(other, pixels, s):
    """From `other` (factor 0.1) through the image (1) to its opposite (1.9), as ImageEnhance."""
    return jnp.clip(other + (1 + 0.9 * s) * (pixels - other), 0, 255)


def _brightness(pixels, s):
    return _blend(0.0, pixels, s)


def _color(pixels, s):
    return _blend(_luma(pixels), pixels, s)


def _contrast(pixels, s):
    return _blend(jnp.round(_luma(pixels).mean()), pixels, s)


def _sharpness(pixels, s):
    """Against Pillow's SMOOTH: a 3x3 mean in which the middle counts 5; the border stays."""
    height, width = pixels.shape[:2]
    around = sum(pixels[i : height - 2 + i, j : width - 2 + j] for i in range(3) for j in range(3))
    smooth = jnp.round((around + 4 * pixels[1:-1, 1:-1]) / 13)
    return _blend(pixels.at[1:-1, 1:-1].set(smooth), pixels, s)


def _posterize(pixels, s):
    """Keeps the highest 8 to 4 bits."""
    step = 2.0 ** jnp.round(4 * jnp.abs(s))
    return jnp.floor(pixels / step) * step


def _solarize(pixels, s):
    return jnp.where(pixels < 255 * (1 - jnp.abs(s)), pixels, 255 - pixels)


def _autocontrast(pixels, s):
    low, high = pixels.min((0, 1)), pixels.max((0, 1))
    return jnp.where(high > low, (pixels - low) * 255 / jnp.maximum(high - low, 1), pixels)


def _equalize(pixels, s):
    """Each channel's histogram made flat; as in Pillow, images below 256 pixels stay."""
    levels = pixels.reshape(-1, 3).astype(jnp.int32)
    channel = jnp.arange(3)
    histogram = jnp.zeros((256, 3), jnp.int32).at[levels, channel].add(1)
    last = histogram[levels.max(0), channel]
    step = (len(levels) - last) // 255
    below = jnp.cumsum(histogram, 0) - histogram
    table = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), 255)
    return jnp.where(step > 0, table[levels, channel].reshape(pixels.shape), pixels)


def _luma(pixels):
    """Grey levels of ITU-R 601, [H, W, 1]."""
    return jnp.round((pixels * jnp.array([0.299, 0.587, 0.114])).sum(-1, keepdims=True))


# strength, height, width -> float [2, 3]: where in the image to look, from where in the result
GEOMETRIC = {
    'shear_x': _shear_x, 'shear_y': _shear_y, 'translate_x': _translate_x,
    'translate_y': _translate_y, 'rotate': _rotate, 'identity': _identity,
}
# (pixels, strength) -> pixels
COLOURS = {
    'brightness': _brightness, 'color': _color, 'contrast': _contrast, 'sharpness': _sharpness,
    'posterize': _posterize, 'solarize': _solarize, 'autocontrast': _autocontrast,
    'equalize': _equalize,
}
OPERATIONS = (*GEOMETRIC, *COLOURS)
