"""The size at which a photo is optimized."""

from onlymymodel.protect.attack.recipe import Recipe


def working_shape(height: int, width: int, channels: int, recipe: Recipe) -> tuple[int, int, int]:
    """Return the (C,h,w) at which a photo is optimized: its own size, or a short side of `recipe.working_size`."""
    scale = min(1.0, recipe.working_size / min(height, width))
    return channels, max(1, round(height * scale)), max(1, round(width * scale))
