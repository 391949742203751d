"""Which claims of the papers behind the audits hold in results/audits/, as a list for docs/guide/audits.md."""

from collections.abc import Callable
from typing import Any

from audit_tables import MEASURE_NAMES, correlation, plain, spread, tables

Line = dict[str, Any]
SIGNIFICANT = 0.05


def claims() -> str:
    """Return the claims with what was measured; empty where the audits have not been run."""
    makers: tuple[Callable[[], str], ...] = (
        fresh_gradients, trained_gradients, vulnerability, batches, foretelling, falling, noise, membership, evidence,
        generator, representation,
    )  # fmt: skip
    return "".join(f"- {text}\n" for make in makers if (text := make()))


def fresh_gradients() -> str:
    """Return whether gradients of fresh networks give pictures back."""
    lines = {name: _gradient(f"fresh {name}, digits") for name in ("CNN", "mlp", "vit")}
    known = [
        f"{name} {spread(line['ssim'])} ({line['come_back']} of {line['pictures']})"
        for name, line in lines.items()
        if line
    ]
    cnn = lines["CNN"]
    if cnn is None:
        return ""
    return (
        "*Gradients of fresh networks give pictures back* (Zhu et al. 2019, Geiping et al. 2020). SSIM on digits, and "
        f"how many come back: {', '.join(known)}; the mean picture has {plain(cnn['ssim_mean_picture'])}."
    )


def trained_gradients() -> str:
    """Return which attacks work on a trained network."""
    names = ("trained CNN, digits, defenses", "trained CNN, digits, five starts")
    lines = [line for line in _gradients() if line["gradient"] in names and line["defense"] == "none"]
    if not lines:
        return ""
    said = [f"{line['attack']} {spread(line['ssim'])}{' (failed)' if _failed(line) else ''}" for line in lines]
    return (
        f"*Training protects.* Not against every attack: on a trained CNN SSIM is {', '.join(said)}; the mean picture "
        f"has {plain(lines[0]['ssim_mean_picture'])}. An attack below it is called failed; a better one may succeed."
    )


def vulnerability() -> str:
    """Return whether the norm of the Jacobian grows with the danger."""
    lines = [_gradient(f"{state} CNN, digits") for state in ("fresh", "trained")]
    found = [line["correlations"]["jacobian_norm"] for line in lines if line]
    if len(found) < len(lines):
        return ""
    holds = all(one["rho"] > 0 and one["p"] < SIGNIFICANT for one in found)
    verdict = "Holds" if holds else "Does not hold"
    states = ("fresh", "trained")
    said = " and ".join(f"{correlation(one)} on the {name} CNN" for one, name in zip(found, states, strict=True))
    return (
        "*The reconstruction vulnerability, the norm of the gradient's Jacobian, grows with the danger* (arXiv "
        f"2411.03053). {verdict} here: its rank correlation with the PSNR is (p, n) {said}."
    )


def batches() -> str:
    """Return what larger batches and local steps leave."""
    pairs = ((1, 1), (4, 1), (8, 1), (1, 4), (4, 4))
    lines = {pair: _gradient(f"fresh CNN, digits, {pair[0]} in a batch, {pair[1]} local steps") for pair in pairs}
    said = [
        f"{batch} picture{'s' if batch > 1 else ''} and {steps} step{'s' if steps > 1 else ''} {spread(line['ssim'])}"
        f"{' (failed)' if _failed(line) else ''}"
        for (batch, steps), line in lines.items()
        if line
    ]
    if not said:
        return ""
    return (
        f"*Larger batches and local steps protect.* By how much, in SSIM of one attack: {', '.join(said)}. They lower "
        "what this attack gets and guarantee nothing."
    )


def foretelling() -> str:
    """Return whether measures of the layers go with what an inverter gets."""
    lines = tables("intermediate", "networks")
    said = []
    for line in lines:
        rho = line["rho_with_ssim"]
        names = ("degrees_of_freedom", "jacobian_rank", "variation")
        parts = [f"{MEASURE_NAMES[name]} {spread(rho[name])}" for name in names]
        said.append(f"{line['network']}: {', '.join(parts)}")
    if not said:
        return ""
    return (
        "*Degrees of freedom, the Jacobian's rank and the variation show what a layer reveals.* Rank correlations with "
        f"an inverter's SSIM over the layers of one network, with intervals over seeds: {'; '.join(said)}. All of them "
        "change with depth, so that this is no prediction for another network."
    )


def falling() -> str:
    """Return whether measures fall and then rise over the training."""
    lines = {line["measure"]: line for line in tables("intermediate", "epochs")}
    if not lines:
        return ""
    said = [
        f"{MEASURE_NAMES[name]} in {lines[name]['falls_then_rises_in']} of {lines[name]['layers']} layers"
        for name in ("degrees_of_freedom", "jacobian_rank", "stable_rank", "variation")
    ]
    return (
        "*Degrees of freedom and rank fall and then rise over the training.* Both changes are above 0, with intervals "
        f"over {lines['auc']['seeds']} seeds, for {', '.join(said)}."
    )


def noise() -> str:
    """Return whether the noise of the bound stops an inverter."""
    lines = [line for line in tables("intermediate", "layers") if line["ssim_with_noise"]]
    if not lines:
        return ""
    ssims = [line["ssim_with_noise"]["mean"] for line in lines]
    costs = [line["accuracy_unchanged"]["mean"] - line["accuracy_with_noise"]["mean"] for line in lines]
    return (
        "*A bound by the Fisher information keeps pictures from coming back.* Only from adversaries without examples: "
        "at the noise that leaves any estimate 90 % of the pixels' variance, an inverter trained on other pictures "
        f"still reaches a mean SSIM of {min(ssims):.2f} to {max(ssims):.2f} over the layers, at a cost of "
        f"{min(costs):.2f} to {max(costs):.2f} in accuracy."
    )


def membership() -> str:
    """Return whether answers betray the training pictures."""
    said = [
        f"{line['network']}: loss {spread(line['loss']['auc'])}, shadow networks {spread(line['shadows']['auc'])}, and "
        f"{100 * line['shadows']['tpr']['mean']:.0f} % found at 1 % false positives"
        for line in tables("intermediate", "networks")
        if line["shadows"]["auc"]
    ]
    if not said:
        return ""
    return f"*Answers betray training pictures* (Yeom et al. 2018, Carlini et al. 2022). AUC: {'; '.join(said)}."


def evidence() -> str:
    """Return whether weights betray their training pictures."""
    lines = tables("weights", "evidence")
    above = [line for line in lines if line["difference"] and (line["difference"]["low"] or 0) > 0]
    strict = [line for line in lines if line["right_difference"] and (line["right_difference"]["low"] or 0) > 0]
    if not lines:
        return ""
    return (
        "*Weights are made of their training pictures' gradients* (Haim et al. 2022). The difference to other pictures "
        f"is above 0, with its interval over seeds, for {len(above)} of {len(lines)} networks and sets, and among "
        f"pictures that are answered rightly for {len(strict)} of {len(lines)}."
    )


def generator() -> str:
    """Return whether a generator against a network shows memorization."""
    lines = [line for line in tables("weights", "whole") if "gap" in line]
    said = [
        f"{line['network'].split(',')[0]} {line['gap']:.3f} [{line['gap_low']:.3f}, {line['gap_high']:.3f}]"
        for line in lines
    ]
    if not said:
        return ""
    return (
        "*Pictures of a generator that inverts a network show what it memorized* (arXiv 2502.00760). Their similarity "
        f"to training pictures alone does not; its gap to held-out pictures is {', '.join(said)}."
    )


def representation() -> str:
    """Return what a defense of representations hides, and what it costs."""
    lines = tables("representation", "representations")
    said = [
        f"{line['representation']} changes SSIM by {spread(line['ssim_over_undefended'])} and accuracy by "
        f"{spread(line['accuracy_over_undefended'])}"
        for line in lines[1:]
    ]
    if not said:
        return ""
    return (
        "*An encoder trained against a decoder hides pictures from new decoders at little cost* (Xiao et al., AAAI "
        f"2020). Undefended a new decoder reaches an SSIM of {spread(lines[0]['ssim'])}, the mean picture "
        f"{plain(lines[0]['ssim_mean_picture'])}, and the task an accuracy of {spread(lines[0]['accuracy'])}; "
        f"{'; '.join(said)}."
    )


def _gradients() -> list[Line]:
    return tables("gradients", "gradients")


def _gradient(name: str) -> Line | None:
    """Return the line of Inverting Gradients without a defense, or the only one, of a unit."""
    lines = [line for line in _gradients() if line["gradient"] == name and line["defense"] == "none"]
    return lines[0] if lines else None


def _failed(line: Line) -> bool:
    return any(line[name]["mean"] <= 0 for name in ("ssim_gain", "psnr_gain"))
