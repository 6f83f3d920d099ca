"""Cross-entropy of a linear map, some rows at a time.

With a vocabulary of thousands the logits are by far the largest array of a small model (4,096 rows x
4,096 words = 64 MB), and writing them out and back costs more than computing them. So a chunk of rows is
scored, turned into its gradient and multiplied away while it lies in the cache: three matrix products,
as many as without chunks, and no array of the size of all logits.
Price: gradients are computed during the forward pass, even if nobody calls backward; use `token_losses`
for scoring.
"""

from __future__ import annotations

import torch
from torch import Tensor

from train.model import fused

# A chunk of logits should lie in the shared cache, yet keep the products tall; a GPU wants it larger.
CHUNK_BYTES = {"cpu": 1 << 23, "other": 1 << 28}
# A probability near the smallest float has few digits: losses above this are taken from the logits instead.
LARGEST_BY_LOGARITHM = 60.0


def linear_cross_entropy(hidden_NC: Tensor, weight_VC: Tensor, targets_N: Tensor) -> Tensor:
    """Mean of -log softmax(hidden @ weight.T)[target] in nats."""
    return _LinearCrossEntropy.apply(hidden_NC, weight_VC, targets_N)


@torch.no_grad()
def token_losses(hidden_NC: Tensor, weight_VC: Tensor, targets_N: Tensor) -> Tensor:
    """-log softmax(hidden @ weight.T)[target] of every row, in nats, float32 [N]."""
    losses = [
        _scores(hidden_NC[rows], weight_VC, targets_N[rows])[0] for rows in _chunks(hidden_NC, weight_VC)
    ]
    return torch.cat(losses)


def _chunks(hidden_NC: Tensor, weight_VC: Tensor) -> list[slice]:
    budget = CHUNK_BYTES["cpu" if hidden_NC.device.type == "cpu" else "other"]
    rows = max(32, budget // (weight_VC.element_size() * len(weight_VC)))
    return [slice(start, start + rows) for start in range(0, len(hidden_NC), rows)]


def _scores(hidden_nC: Tensor, weight_VC: Tensor, targets_n: Tensor) -> tuple[Tensor, Tensor]:
    """Losses [n] and probabilities [n, V] of a chunk, in float32 whatever the inputs are."""
    probabilities_nV = (hidden_nC @ weight_VC.T).float()
    torch.softmax(probabilities_nV, 1, out=probabilities_nV)  # in place: a second array is a second miss
    losses_n = probabilities_nV.gather(1, targets_n[:, None]).squeeze(1).log_().neg_()
    if not bool((losses_n < LARGEST_BY_LOGARITHM).all()):
        losses_n = torch.log_softmax((hidden_nC @ weight_VC.T).float(), 1)
        losses_n = losses_n.gather(1, targets_n[:, None]).squeeze(1).neg_()
    return losses_n, probabilities_nV


def _losses_and_gradient(hidden_nC: Tensor, weight_VC: Tensor, targets_n: Tensor) -> tuple[Tensor, Tensor]:
    """Losses [n] of a chunk, and their gradients by its scores [n, V]."""
    if fused.fits(hidden_nC, weight_VC):
        grad_nV, losses_n = hidden_nC @ weight_VC.T, torch.empty(len(hidden_nC))
        fused.cross_entropy(fused.view(grad_nV), fused.view(targets_n), losses_n.numpy())
        return losses_n, grad_nV
    losses_n, grad_nV = _scores(hidden_nC, weight_VC, targets_n)
    return losses_n, grad_nV.scatter_add_(1, targets_n[:, None], grad_nV.new_full((len(losses_n), 1), -1.0))


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden_NC, weight_VC, targets_N):
        grad_weight_VC = torch.zeros_like(weight_VC)
        hidden_NC, weight_VC = (x.to(fused.of_products(x)) for x in (hidden_NC, weight_VC))
        grad_hidden_NC, losses = torch.empty_like(hidden_NC), []
        for rows in _chunks(hidden_NC, weight_VC):
            losses_n, grad_nV = _losses_and_gradient(hidden_NC[rows], weight_VC, targets_N[rows])
            losses.append(losses_n)
            grad_nV = grad_nV.to(hidden_NC.dtype)
            torch.mm(grad_nV, weight_VC, out=grad_hidden_NC[rows])
            if grad_weight_VC.dtype == grad_nV.dtype:  # else sums are wider than what is multiplied
                grad_weight_VC.addmm_(grad_nV.T, hidden_NC[rows])
            else:
                grad_weight_VC.add_(grad_nV.T @ hidden_NC[rows])
            del grad_nV  # now, so that the next chunk takes its place in memory and in the cache
        ctx.save_for_backward(grad_hidden_NC, grad_weight_VC)
        return torch.cat(losses).mean()

    @staticmethod
    def backward(ctx, grad_loss):
        grad_hidden_NC, grad_weight_VC = ctx.saved_tensors
        scale = grad_loss / len(grad_hidden_NC)
        return grad_hidden_NC * scale, grad_weight_VC * scale, None
