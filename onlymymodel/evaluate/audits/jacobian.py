"""How a release moves when the picture moves: the singular values of its Jacobian dR/dx at one picture."""

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from onlymymodel.errors import UserError

Function = Callable[[Tensor], Tensor]
MOST = 512  # rows, or columns, up to which a Jacobian is computed whole
CHUNK = 64  # vectors multiplied at once


class Linearized:
    """The Jacobian J (outputs x inputs) of a function at one x, as products with vectors.

    The function runs once, in the type of x; small singular values need x and the network in float64. J u is the
    derivative of J^T v by v, so that a function may itself call `torch.autograd.grad(..., create_graph=True)`; where
    torch knows no second derivative, J u is a pass of forward differentiation for each u.

    Args:
        function: of a tensor like x, with an output of any shape.
        x: where; any shape.
    """

    def __init__(self, function: Function, x: Tensor) -> None:
        self._function = function
        self._x = x.detach().clone().requires_grad_()
        # the fused kernels of attention have no second derivative
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            self._y = function(self._x).flatten()
        self.inputs, self.outputs = self._x.numel(), self._y.numel()
        self._cotangent = torch.zeros_like(self._y).requires_grad_()
        self._pulled: Tensor | None = None

    def transposed(self, vectors: Tensor) -> Tensor:
        """J^T v for each row of (k, outputs), as (k, inputs) float64."""
        return _products(self._y, self._x, vectors)

    def forward(self, vectors: Tensor) -> Tensor:
        """J u for each row of (k, inputs), as (k, outputs) float64."""
        if self._pulled is None:
            self._pulled = self._x.new_zeros(self.inputs)
            if self._y.requires_grad:
                self._pulled = torch.autograd.grad(
                    self._y, self._x, self._cotangent, create_graph=True, materialize_grads=True
                )[0].flatten()
        try:
            return _products(self._pulled, self._cotangent, vectors)
        except RuntimeError as error:
            if "derivative for" not in str(error):
                raise
            return self._duals(vectors)  # some functions, as hardsigmoid, have no second derivative in torch

    def _duals(self, vectors: Tensor) -> Tensor:
        """As `forward`, by forward differentiation: a pass for each vector."""
        x, products = self._x.detach(), []
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch compiles its rules at first use, in a way that it deprecates
            for vector in vectors.to(x):
                products.append(torch.func.jvp(self._function, (x,), (vector.view_as(x),))[1].flatten().double())
        return torch.stack(products)

    def gram(self, vectors: Tensor) -> Tensor:
        """J^T J u, or J J^T u where there are fewer outputs than inputs, for each row of (k, `self.smaller`)."""
        if self.outputs < self.inputs:
            return self.forward(self.transposed(vectors))
        return self.transposed(self.forward(vectors))

    @property
    def smaller(self) -> int:
        """The smaller side of J, which bounds its rank."""
        return min(self.inputs, self.outputs)

    def matrix(self) -> Tensor:
        """J whole, or its transpose: (smaller, larger) float64, by as many products as its smaller side."""
        multiply = self.transposed if self.outputs < self.inputs else self.forward
        rows = torch.split(torch.eye(self.smaller, device=self._x.device), CHUNK)
        return torch.cat([multiply(part) for part in rows])


def spectrum(function: Function, x: Tensor, *, most: int = MOST) -> Tensor:
    """All min(inputs, outputs) singular values of the Jacobian at x, (k,) float64, descending; exact.

    Raises:
        UserError: min(inputs, outputs) is more than `most`.
    """
    linear = Linearized(function, x)
    if linear.smaller > most:
        raise UserError(
            f"a Jacobian of {linear.outputs} x {linear.inputs} has more than {most} singular values to compute: take "
            "smaller pictures, raise `most`, or estimate with frobenius, largest, smallest or spectral_density"
        )
    singular: Tensor = torch.linalg.svdvals(linear.matrix())
    return singular


def frobenius(function: Function, x: Tensor, *, probes: int = 64, generator: torch.Generator) -> float:
    """Hutchinson's estimate of ||J||_F, the root of the mean of ||J^T v||^2 over random signs v.

    Args:
        probes: number of random vectors; the relative error falls as 1 / sqrt(probes).
    """
    linear = Linearized(function, x)
    products = [linear.transposed(signs) for signs in _signs(probes, linear.outputs, generator, x.device)]
    return torch.cat(products).square().sum(1).mean().sqrt().item()


def largest(function: Function, x: Tensor, *, count: int = 1, generator: torch.Generator) -> Tensor:
    """The largest `count` singular values, (count,) float64, descending; by SciPy's ARPACK (Lanczos), converged.

    Raises:
        UserError: SciPy is not installed, or `count` is not below min(inputs, outputs).
    """
    linear = Linearized(function, x)
    _check_count(linear, count)
    start = torch.randn(1, linear.smaller, generator=generator, dtype=torch.float64)
    if not linear.gram(start.to(x.device)).any():
        return torch.zeros(count, dtype=torch.float64)
    operator = _operator(linear, x.device)
    from scipy.sparse.linalg import eigsh

    return _roots(eigsh(operator, k=count, v0=start[0].numpy(), return_eigenvectors=False))


def smallest(
    function: Function, x: Tensor, *, count: int = 1, iterations: int = 200, generator: torch.Generator
) -> Tensor:
    """The smallest `count` of the min(inputs, outputs) singular values, (count,) float64, descending.

    By SciPy's LOBPCG without a preconditioner: never below the true values, and above them where the iterations did
    not suffice, as with a badly conditioned Jacobian; take `spectrum` where it is small enough.

    Raises:
        UserError: SciPy is not installed, or min(inputs, outputs) is not above 5 * count.
    """
    linear = Linearized(function, x)
    _check_count(linear, 5 * count)
    operator, start = _operator(linear, x.device), torch.randn(linear.smaller, count, generator=generator)
    from scipy.sparse.linalg import lobpcg

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # not converged: the docstring says what that means
        found = lobpcg(operator, start.double().numpy(), largest=False, tol=0, maxiter=iterations)[0]
    return _roots(found)


def numerical_rank(singular: Tensor, tau: float) -> int:
    """How many singular values are above tau times the largest; 0 where all are 0."""
    return int((singular > tau * singular.max()).sum())


def stable_rank(singular: Tensor) -> float:
    """||J||_F^2 / ||J||_2^2, between 1 and the rank; 0 where all singular values are 0."""
    top = singular.max()
    return (singular / top).square().sum().item() if top > 0 else 0.0


def _products(outputs: Tensor, inputs: Tensor, vectors: Tensor) -> Tensor:
    """The derivative of <outputs, v> by the inputs for each row v, (k, inputs) float64."""
    if not outputs.requires_grad:  # constant: nothing depends on the inputs
        return vectors.new_zeros(len(vectors), inputs.numel(), dtype=torch.float64)
    products = []
    for part in torch.split(vectors.to(outputs.dtype), CHUNK):
        found = torch.autograd.grad(
            outputs, inputs, part, retain_graph=True, is_grads_batched=True, materialize_grads=True
        )
        products.append(found[0].flatten(1).double())
    return torch.cat(products)


def _signs(count: int, length: int, generator: torch.Generator, device: torch.device) -> Iterator[Tensor]:
    for start in range(0, count, CHUNK):
        shape = (min(CHUNK, count - start), length)
        yield (torch.randint(0, 2, shape, generator=generator, dtype=torch.float64) * 2 - 1).to(device)


def _operator(linear: Linearized, device: torch.device) -> object:
    """J^T J, or J J^T where that is smaller, for SciPy."""

    def multiply(columns: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = torch.from_numpy(np.ascontiguousarray(columns.reshape(linear.smaller, -1).T)).to(device)
        return linear.gram(rows).T.cpu().numpy().reshape(columns.shape)

    try:
        from scipy.sparse.linalg import LinearOperator
    except ImportError as error:
        raise UserError("extreme singular values need SciPy: pip install 'onlymymodel[audit]'") from error
    return LinearOperator((linear.smaller,) * 2, matvec=multiply, matmat=multiply, dtype=np.float64)


def _check_count(linear: Linearized, least: int) -> None:
    if linear.smaller <= least:
        raise UserError(f"a Jacobian of {linear.outputs} x {linear.inputs} is too small for this; use spectrum")


def _roots(eigenvalues: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.sqrt(np.clip(np.sort(eigenvalues)[::-1], 0, None)))
