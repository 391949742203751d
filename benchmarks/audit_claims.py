"""Compare claims of the papers behind the audits with results/audits/, as a list for docs/guide/audits.md."""

from collections.abc import Callable
from typing import Any

from audit_tables import MEASURE_NAMES, correlation, plain, spread, tables

Line = dict[str, Any]
SIGNIFICANT = 0.05
GUESSING = 0.5  # AUC
RECOVERED = 0.9  # SSIM from which a picture counts as come back


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
    back = [name for name, line in lines.items() if line and line["come_back"] == line["pictures"]]
    holds = f"Holds for {' and '.join(back)}" if back else "Does not hold"
    return (
        f"*Gradients of fresh networks give pictures back* (Zhu et al. 2019, Geiping et al. 2020). {holds}: SSIM on "
        f"digits, and how many come back: {', '.join(known)}; the mean picture has {plain(cnn['ssim_mean_picture'])}."
    )


def trained_gradients() -> str:
    """Return which attacks work on a trained network."""
    names = ("trained CNN, digits, defenses", "trained CNN, digits, five starts")
    lines = [line for line in _gradients() if line["gradient"] in names and line["defense"] == "none"]
    if not lines:
        return ""
    said = [f"{line['attack']} {spread(line['ssim'])}{' (failed)' if _failed(line) else ''}" for line in lines]
    holds = "Does not hold" if any(line["come_back"] for line in lines) else "Holds against these attacks"
    return (
        f"*Gradients of trained networks are safe* (often assumed). {holds}: on a trained CNN SSIM is "
        f"{', '.join(said)}; the mean picture has {plain(lines[0]['ssim_mean_picture'])}. An attack below it is called "
        "failed; a better one may succeed."
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
    known = [(pair, line) for pair, line in lines.items() if line]
    if not known:
        return ""
    said = [
        f"{batch} picture{'s' if batch > 1 else ''} and {steps} step{'s' if steps > 1 else ''} {spread(line['ssim'])}"
        f"{' (failed)' if _failed(line) else ''}"
        for (batch, steps), line in known
    ]
    least = min(line["ssim"]["mean"] for _, line in known)
    holds = "Does not hold at this size" if least >= RECOVERED else "Holds in part"
    top = max(line["ssim_mean_picture"]["mean"] for _, line in known)
    return (
        f"*Larger batches and local steps protect* (often assumed). {holds}: SSIM of one attack is {', '.join(said)}; "
        f"the mean picture has at most {top:.2f}."
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
    names = ("degrees_of_freedom", "jacobian_rank", "stable_rank", "variation")
    said = [
        f"{MEASURE_NAMES[name]} in {lines[name]['falls_then_rises_in']} of {lines[name]['layers']} layers"
        for name in names
    ]
    everywhere = [MEASURE_NAMES[name] for name in names if lines[name]["falls_then_rises_in"] == lines[name]["layers"]]
    holds = f"Holds for {' and '.join(everywhere)}" if everywhere else "Does not hold for any measure in all layers"
    return (
        f"*Degrees of freedom and rank fall and then rise over the training.* {holds}: both changes are above 0, with "
        f"intervals over {lines['auc']['seeds']} seeds, for {', '.join(said)}."
    )


def noise() -> str:
    """Return whether the noise of the bound stops an inverter."""
    lines = [line for line in tables("intermediate", "layers") if line["ssim_with_noise"]]
    if not lines:
        return ""
    ssims = [line["ssim_with_noise"]["mean"] for line in lines]
    costs = [line["accuracy_unchanged"]["mean"] - line["accuracy_with_noise"]["mean"] for line in lines]
    return (
        "*A bound by the Fisher information keeps pictures from coming back* (Maeng et al. 2023). Only from "
        "adversaries without examples: at the noise that leaves any estimate 90 % of the pixels' variance, an inverter "
        f"trained on other pictures still reaches a mean SSIM of {min(ssims):.2f} to {max(ssims):.2f} over the layers, "
        f"at a cost of {min(costs):.2f} to {max(costs):.2f} in accuracy."
    )


def membership() -> str:
    """Return whether answers betray the training pictures."""
    lines = [line for line in tables("intermediate", "networks") if line["shadows"]["auc"]]
    if not lines:
        return ""
    said = [
        f"{line['network']}: loss {spread(line['loss']['auc'])}, shadow networks {spread(line['shadows']['auc'])}, and "
        f"{100 * line['shadows']['tpr']['mean']:.0f} % found at 1 % false positives"
        for line in lines
    ]
    holds = "Holds" if all((line["shadows"]["auc"]["low"] or 0) > GUESSING for line in lines) else "Holds in part"
    return (
        f"*Answers betray training pictures* (Yeom et al. 2018, Carlini et al. 2022). {holds}: AUC {'; '.join(said)}."
    )


def evidence() -> str:
    """Return whether weights betray their training pictures."""
    lines = tables("weights", "evidence")
    if not lines:
        return ""
    above = [line for line in lines if line["difference"] and (line["difference"]["low"] or 0) > 0]
    strict = [line for line in lines if line["right_difference"] and (line["right_difference"]["low"] or 0) > 0]
    holds = "Holds" if len(above) == len(lines) else "Holds in part"
    return (
        f"*Weights are combined from gradients of their training pictures* (Haim et al. 2022). {holds}: the "
        f"combination fits them better than that of other pictures, with its interval over seeds, for {len(above)} of "
        f"{len(lines)} networks and sets, and among rightly answered pictures for {len(strict)} of {len(lines)}."
    )


def generator() -> str:
    """Return whether a generator against a network shows memorization."""
    lines = [line for line in tables("weights", "whole") if "gap" in line]
    if not lines:
        return ""
    said = [
        f"{line['network'].split(',')[0]} {line['gap']:.3f} [{line['gap_low']:.3f}, {line['gap_high']:.3f}]"
        for line in lines
    ]
    holds = "Holds in part" if any(line["gap_low"] > 0 for line in lines) else "Not seen here"
    return (
        f"*Pictures of a generator that inverts a network show what it memorized* (arXiv 2502.00760). {holds}: the gap "
        f"of their SSIM to training pictures and to held-out ones is {', '.join(said)}, with a generator of few steps."
    )


def representation() -> str:
    """Return what a defense of representations hides, and what it costs."""
    every = tables("representation", "representations")
    lines = [line for line in every if line["pictures"] == every[0]["pictures"]]
    if not lines:
        return ""
    said = [
        f"{line['representation']} changes SSIM by {spread(line['ssim_over_undefended'])} and accuracy by "
        f"{spread(line['accuracy_over_undefended'])}"
        for line in lines[1:]
    ]
    bare, last = lines[0], lines[-1]
    hides = (last["ssim_over_undefended"]["high"] or 0) < 0
    whole = last["ssim"]["mean"] <= last["ssim_mean_picture"]["mean"]
    holds = "Holds" if hides and whole else "Holds in part" if hides else "Not seen here"
    return (
        "*An encoder trained against a decoder hides pictures from new decoders at little cost* (Xiao et al., AAAI "
        f"2020). {holds}: undefended the best attack reaches an SSIM of {spread(bare['ssim'])}, the mean picture "
        f"{plain(bare['ssim_mean_picture'])}, and the task an accuracy of {spread(bare['accuracy'])} ("
        f"{plain(bare['accuracy_by_chance'])} by chance); "
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
