"""Measure the cost of a gradient defense: the accuracy of a network trained on defended gradients."""

import copy

import torch
from torch import nn

from onlymymodel.evaluate.audits.gradients.client_gradient import client_copy, client_update
from onlymymodel.evaluate.audits.gradients.defenses import Defense
from onlymymodel.evaluate.audits.networks import accuracy
from onlymymodel.evaluate.audits.options import Mode
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.progress import track

ROUNDS, CLIENTS, RATE = 60, 8, 2e-3


def federated_accuracy(
    network: nn.Module,
    training: Pictures,
    test: Pictures,
    defense: Defense,
    *,
    batch: int = 1,
    mode: Mode = "eval",
    local_steps: int = 1,
    local_rate: float = 0.1,
    rounds: int = ROUNDS,
    seed: int = 0,
    progress: bool = True,
) -> float:
    """Return the test accuracy after some rounds in which the server averages the gradients of eight clients.

    The server takes a step of Adam with the mean of the gradients (FedAdam, Reddi et al., ICLR 2021); rate and rounds
    are ours, small enough for one core.

    Args:
        network: where the training starts; it is not changed.
        training: pictures of all clients, drawn anew in each round.
        test: pictures of nobody who takes part.
        defense: what each client does to its gradient.
        batch: number of pictures behind one gradient.
        mode, local_steps, local_rate: see `GradientRelease`.
        rounds: number of steps of the server.
        seed: seed of the draws and of the defense's noise.
    """
    server, generator = copy.deepcopy(network), torch.Generator().manual_seed(seed)
    parameters = list(server.parameters())
    device = parameters[0].device
    optimizer = torch.optim.Adam(parameters, RATE)
    for _ in track(range(rounds), f"cost of {defense.name}", unit="round", progress=progress):
        client = client_copy(server, mode)
        total = [torch.zeros_like(parameter) for parameter in parameters]
        for _ in range(CLIENTS):
            rows = torch.randperm(len(training), generator=generator)[:batch]
            pixels, labels = training.pixels[rows].to(device), training.labels[rows].to(device)
            gradient = client_update(client, pixels, labels, steps=local_steps, rate=local_rate)
            for part, sent in zip(total, defense.release(gradient, generator), strict=True):
                part += sent / CLIENTS
        for parameter, part in zip(parameters, total, strict=True):
            parameter.grad = part
        optimizer.step()
    return accuracy(server.eval(), test)
