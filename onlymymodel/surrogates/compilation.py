"""Networks compiled by torch.compile, for the optimizer.

Only the optimizer uses the compiled copy; answers, hashes and verdicts are those of the network as it was loaded.
"""

import warnings
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from onlymymodel.errors import UserError, first_line
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.detector import Detector

_compiled: WeakKeyDictionary[Classifier, Classifier] = WeakKeyDictionary()


def compiled(model: Classifier) -> Classifier:
    """Return a copy that shares the weights of `model`, and is compiled when it is first called.

    Logits agree to about 1e-5 of the largest. Another number of photos compiles it again, for any number of them. A
    detector, whose parts are called one by one, is returned as it is.
    """
    if isinstance(model.net, Detector):
        return model
    if model not in _compiled:
        _compiled[model] = Classifier(_Compiled(model.net), model.card, model.assumed).to(model.mean)
    return _compiled[model]


class _Compiled(nn.Module):
    """A network whose calls are compiled."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self._call = torch.compile(net)

    def forward(self, normalized: Tensor) -> Tensor:
        """Return the network's logits. Raises UserError where it cannot be compiled."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's, of its own code
                logits: Tensor = self._call(normalized)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise UserError(f"a network cannot be compiled here ({first_line(error)}): leave out --compile") from error
        return logits
