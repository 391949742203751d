"""Sensitivity of a release to the picture: the singular values of its Jacobian dR/dx at one picture."""

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from onlymymodel.errors import UserError

Function = Callable[[Tensor], Tensor]
MAX_EXACT = 512  # largest min(inputs, outputs) of a Jacobian that is computed as a whole
CHUNK = 64  # vectors that are multiplied at once


class Linearized:
    """The Jacobian J (outputs x inputs) of a function at one x, as products with vectors.

    The function runs once, in the type of x; small singular values need x and the network in float64. J u is computed
    as the derivative of J^T v by v, so the function may itself call `torch.autograd.grad(..., create_graph=True)`.
    Where torch knows no second derivative, J u takes one pass of forward differentiation for each u.

    Args:
        function: function of a tensor like x, with an output of any shape.
        x: point at which the Jacobian is taken; any shape.
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
        """Return J^T v for each row v of (k, outputs), as (k, inputs) float64."""
        return _products(self._y, self._x, vectors)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return J u for each row u of (k, inputs), as (k, outputs) float64."""
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
            return self._forward_mode(vectors)  # some functions, such as hardsigmoid, have no second derivative

    def _forward_mode(self, vectors: Tensor) -> Tensor:
        """Compute `forward` by forward differentiation, one pass for each vector."""
        x, products = self._x.detach(), []
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls a deprecated function of its own on first use
            for vector in vectors.to(x):
                products.append(torch.func.jvp(self._function, (x,), (vector.view_as(x),))[1].flatten().double())
        return torch.stack(products)

    def gram(self, vectors: Tensor) -> Tensor:
        """Return J^T J u, or J J^T u if there are fewer outputs than inputs, for each row of (k, `self.smaller`)."""
        if self.outputs < self.inputs:
            return self.forward(self.transposed(vectors))
        return self.transposed(self.forward(vectors))

    @property
    def smaller(self) -> int:
        """The smaller side of J, an upper bound of its rank."""
        return min(self.inputs, self.outputs)

    def matrix(self) -> Tensor:
        """Return J or its transpose as a (smaller, larger) float64 matrix, by as many products as its smaller side."""
        multiply = self.transposed if self.outputs < self.inputs else self.forward
        rows = torch.split(torch.eye(self.smaller, device=self._x.device), CHUNK)
        return torch.cat([multiply(part) for part in rows])


def singular_values(function: Function, x: Tensor, *, max_exact: int = MAX_EXACT) -> Tensor:
    """Return all min(inputs, outputs) singular values of the Jacobian at x, (k,) float64, descending; exact.

    Raises:
        UserError: min(inputs, outputs) is larger than `max_exact`.
    """
    linear = Linearized(function, x)
    if linear.smaller > max_exact:
        raise UserError(
            f"a Jacobian of {linear.outputs} x {linear.inputs} has more than {max_exact} singular values to compute: "
            "take smaller pictures, raise `max_exact`, or estimate with frobenius_norm, largest_singular_values, "
            "smallest_singular_values or spectral_density"
        )
    values: Tensor = torch.linalg.svdvals(linear.matrix())
    return values


def frobenius_norm(function: Function, x: Tensor, *, probes: int = 64, generator: torch.Generator) -> float:
    """Return Hutchinson's estimate of ||J||_F, the root of the mean of ||J^T v||^2 over random sign vectors v.

    Args:
        probes: number of random vectors; the relative error falls as 1 / sqrt(probes).
    """
    linear = Linearized(function, x)
    products = [linear.transposed(signs) for signs in _signs(probes, linear.outputs, generator, x.device)]
    return torch.cat(products).square().sum(1).mean().sqrt().item()


def largest_singular_values(function: Function, x: Tensor, *, count: int = 1, generator: torch.Generator) -> Tensor:
    """Return the largest singular values, (count,) float64, descending, by SciPy's ARPACK (Lanczos), converged.

    Raises:
        UserError: SciPy is not installed, or `count` is not below min(inputs, outputs).
    """
    linear = Linearized(function, x)
    _check_size(linear, count)
    start = torch.randn(1, linear.smaller, generator=generator, dtype=torch.float64)
    if not linear.gram(start.to(x.device)).any():
        return torch.zeros(count, dtype=torch.float64)
    operator = _gram_operator(linear, x.device)
    from scipy.sparse.linalg import eigsh

    return _square_roots(eigsh(operator, k=count, v0=start[0].numpy(), return_eigenvectors=False))


def smallest_singular_values(
    function: Function, x: Tensor, *, count: int = 1, iterations: int = 200, generator: torch.Generator
) -> Tensor:
    """Return estimates of the smallest of the min(inputs, outputs) singular values, (count,) float64, descending.

    Computed by SciPy's LOBPCG without a preconditioner. The estimates are never below the true values. They are above
    them if the iterations did not suffice, as with an ill-conditioned Jacobian; prefer `singular_values` where it is
    possible.

    Raises:
        UserError: SciPy is not installed, or min(inputs, outputs) is not above 5 * count.
    """
    linear = Linearized(function, x)
    _check_size(linear, 5 * count)
    operator, start = _gram_operator(linear, x.device), torch.randn(linear.smaller, count, generator=generator)
    from scipy.sparse.linalg import lobpcg

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # not converged: see the docstring
        eigenvalues = lobpcg(operator, start.double().numpy(), largest=False, tol=0, maxiter=iterations)[0]
    return _square_roots(eigenvalues)


def numerical_rank(singular: Tensor, tau: float) -> int:
    """Return the number of singular values above tau times the largest; 0 if all are 0."""
    return int((singular > tau * singular.max()).sum())


def stable_rank(singular: Tensor) -> float:
    """Return ||J||_F^2 / ||J||_2^2, between 1 and the rank; 0 if all singular values are 0."""
    top = singular.max()
    return (singular / top).square().sum().item() if top > 0 else 0.0


def _products(outputs: Tensor, inputs: Tensor, vectors: Tensor) -> Tensor:
    """Return the derivative of <outputs, v> by the inputs for each row v, as (k, inputs) float64."""
    if not outputs.requires_grad:  # a constant function
        return vectors.new_zeros(len(vectors), inputs.numel(), dtype=torch.float64)
    products = []
    for part in torch.split(vectors.to(outputs.dtype), CHUNK):
        gradients = torch.autograd.grad(
            outputs, inputs, part, retain_graph=True, is_grads_batched=True, materialize_grads=True
        )
        products.append(gradients[0].flatten(1).double())
    return torch.cat(products)


def _signs(count: int, length: int, generator: torch.Generator, device: torch.device) -> Iterator[Tensor]:
    """Yield `count` random sign vectors as (k, length) chunks."""
    for start in range(0, count, CHUNK):
        shape = (min(CHUNK, count - start), length)
        yield (torch.randint(0, 2, shape, generator=generator, dtype=torch.float64) * 2 - 1).to(device)


def _gram_operator(linear: Linearized, device: torch.device) -> object:
    """Return J^T J, or J J^T if that is smaller, as a linear operator of SciPy."""

    def multiply(columns: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = torch.from_numpy(np.ascontiguousarray(columns.reshape(linear.smaller, -1).T)).to(device)
        return linear.gram(rows).T.cpu().numpy().reshape(columns.shape)

    try:
        from scipy.sparse.linalg import LinearOperator
    except ImportError as error:
        raise UserError("extreme singular values need SciPy: pip install 'onlymymodel[audit]'") from error
    return LinearOperator((linear.smaller,) * 2, matvec=multiply, matmat=multiply, dtype=np.float64)


def _check_size(linear: Linearized, bound: int) -> None:
    if linear.smaller <= bound:
        raise UserError(f"a Jacobian of {linear.outputs} x {linear.inputs} is too small for this; use singular_values")


def _square_roots(eigenvalues: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.sqrt(np.clip(np.sort(eigenvalues)[::-1], 0, None)))
