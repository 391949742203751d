"""Random stream of the noise of defenses, apart from all that an adversary draws."""

from hashlib import sha256

from torch import Generator


def noise_generator(seed: int, index: int = 0) -> Generator:
    """Return the generator of the noise on one release.

    Weights and initializations are drawn from streams of `seed` itself and of numbers near it: noise from one of these
    would be a function of what an adversary knows.

    Args:
        seed: seed of the audit.
        index: number of the release.
    """
    return Generator().manual_seed(int(sha256(f"noise:{seed}:{index}".encode()).hexdigest()[:15], 16))
