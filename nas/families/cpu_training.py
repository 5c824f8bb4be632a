"""What training steps on a CPU share: norms and products, with backward passes written by hand.

What a CPU loses outside its matrix products it loses to passes over memory and to calls. So a
whole sublayer, `x + f(norm(x))`, is one autograd function (`cpu_attention`, `cpu_feed_forward`) and
the norm's weight is folded into the projection's. The formulas are those of `ops`;
`tests/benchmarks/training_step.py` measures what this gains.

Under autocast products are in its dtype; norms, sums and the residual stream stay in float32.

Shapes: B batch, T sequence, M = B * T positions, D d_model, N outputs of a projection.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

LARGE_CACHE_BYTES = 2 * 2**20  # of the second level

Grads = tuple[Tensor | None, ...]


@cache
def has_large_cache() -> bool:
    """Say whether the second-level cache is large, and much is best worked on at once."""
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # not in every torch
    return bool(known.get("l2_cache_size", 0) >= LARGE_CACHE_BYTES)


def trains_on_cpu(x: Tensor) -> bool:
    """Say whether the functions of this module apply."""
    return x.device.type == "cpu" and torch.is_grad_enabled()


def norm_project(x_BTD: Tensor, norm_D: Tensor, weight_ND: Tensor, eps: float) -> Tensor:
    """Return `rms_norm(x) @ weight.T`."""
    return _NormProject.apply(x_BTD, norm_D, weight_ND, eps)  # type: ignore[no-any-return, no-untyped-call]  # untyped in torch


class _NormProject(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: Tensor, weight: Tensor, eps: float) -> Tensor:
        out, unit, scale = normed_product(x, norm, weight, eps)
        ctx.save_for_backward(unit, scale, norm, weight)
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        grad = grads[0].flatten(0, -2)
        grad_x, *grad_weights = normed_product_backward(grad, *ctx.saved_tensors)
        return grad_x.view(*grads[0].shape[:-1], -1), *grad_weights, None


def normed_product(
    x: Tensor, norm: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the projection, the vectors of unit root mean square and what scaled them to it."""
    unit, scale = unit_vectors(x.flatten(0, -2), eps)
    return unit @ cast(weight * norm, unit.dtype).t(), unit, scale


def normed_product_backward(
    grad: Tensor,
    unit: Tensor,
    scale: Tensor,
    norm: Tensor,
    weight: Tensor,
    *,
    residual: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x (with the residual stream's, if given), norm and weight."""
    grad_scaled = cast(grad.t() @ unit, weight.dtype)
    grad_unit = grad @ cast(weight * norm, grad.dtype)
    grad_x = unit_vectors_backward(grad_unit, unit, scale, residual)
    return grad_x, (grad_scaled * weight).sum(0), grad_scaled.mul_(norm)


def unit_vectors(x_MD: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return vectors of unit root mean square in the products' dtype, and their scales."""
    size = torch.linalg.vector_norm(x_MD, dim=-1, keepdim=True)
    scale = torch.addcmul(number(eps, x_MD.dtype), size, size, value=1 / x_MD.shape[-1]).rsqrt_()
    return cast(x_MD * scale, _product_dtype(x_MD)), scale


def unit_vectors_backward(
    grad: Tensor,
    unit: Tensor,
    scale: Tensor,
    residual: Tensor | None = None,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """Return the gradient of x from that of unit vectors, plus the residual stream's, if any."""
    grad, unit = cast(grad, scale.dtype), cast(unit, scale.dtype)
    along = torch.linalg.vecdot(grad, unit).unsqueeze_(-1)
    across = grad.addcmul_(unit, along, value=-1 / unit.shape[-1])
    if residual is None:
        return across.mul_(scale)
    return torch.addcmul(residual, across, scale, out=out)


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `x` in a dtype; asking costs a tenth of a call that changes nothing."""
    return x if x.dtype == dtype else x.to(dtype)


@lru_cache(maxsize=8)
def number(value: float, dtype: torch.dtype) -> Tensor:
    """Return a number as a tensor, which is not made anew each time."""
    return torch.tensor(value, dtype=dtype)


def _product_dtype(x: Tensor) -> torch.dtype:
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def add_product(
    x_MD: Tensor, a: Tensor, weight: Tensor, keep: Tensor | None, *, out: Tensor | None = None
) -> Tensor:
    """Return `x + keep * (a @ weight.T)`."""
    if keep is None and a.dtype == x_MD.dtype:
        return torch.addmm(x_MD, a, weight.t(), out=out)
    update = a @ cast(weight, a.dtype).t()
    if keep is None:
        return torch.add(x_MD, update, out=out)
    return torch.addcmul(x_MD, cast(update, x_MD.dtype), keep, out=out)


def product_backward(
    grad: Tensor, a: Tensor, weight: Tensor, keep: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the gradients of `a` and `weight` in `add_product`."""
    grad = update_gradient(grad, keep, a.dtype)
    return grad @ cast(weight, a.dtype), cast(grad.t() @ a, weight.dtype)


def update_gradient(grad: Tensor, keep: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Return the gradient of the product in `add_product`, in the product's dtype."""
    return cast(grad if keep is None else grad * keep, dtype)
