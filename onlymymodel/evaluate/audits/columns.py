"""Descriptions of the audits' measurements, for the page and for Markdown."""

from onlymymodel.evaluate.audits.similarity import SIMILARITY_DEFINITION

MEANINGS = {
    "signal": "whether the release had anything to attack",
    "gradient_cosine": "cosine of the reconstruction's gradient with the true one",
    "gradient_l2": "distance of the reconstruction's gradient to the true one, over the norm of the true one",
    "mse": "mean squared error of the reconstruction, pixels in [0, 1]",
    "lpips": "perceptual distance by LPIPS (AlexNet); 0 for equal pictures",
    **SIMILARITY_DEFINITION,
    "psnr_mean_picture": "PSNR of the mean of the other pictures, a guess without the release",
    "ssim_mean_picture": "SSIM of the mean picture, a guess without the release",
    "label_found": "whether the adversary found the label of the picture",
    "labels_found": "share of the labels that the adversary found",
    "jacobian_norm": "Frobenius norm of the gradient's Jacobian by the picture, by random projections",
    "s_max": "largest singular value of the gradient's Jacobian",
    "s_min_cosine": "smallest singular value of the Jacobian of the gradient's direction; for large ones a bound",
    "noise_bound": "least mean squared error of a linear estimate under the defense's noise; at most the variance",
    "pictures": "number of pictures",
    "without_signal": "number of pictures whose release had nothing to attack",
    "features": "number of numbers in one output",
    "degrees_of_freedom": "number of directions in which the outputs vary over the pictures (participation ratio)",
    "variation": "spread of the outputs over the pictures, over the norm of their mean",
    "jacobian_rank": "number of directions of the picture that the output reacts to",
    "stable_rank": "squared Frobenius norm over squared spectral norm of the Jacobian",
    "jacobian": "how the Jacobian's singular values were computed",
    "jacobian_square": "mean squared Frobenius norm of the Jacobian, from which the Fisher information follows",
    "noise": "deviation of the Gaussian noise on every output at which every estimate has the error of the bound",
    "noise_share": "that noise over the deviation of an output over the pictures",
    "accuracy_unchanged": "accuracy of the network's answers on the test pictures",
    "accuracy_with_noise": "accuracy of the network's answers with that noise on this layer",
    "ssim_with_noise": "mean SSIM of an inverter of outputs with that noise",
    "ssim_refined": "mean SSIM of the first pictures if the inverter's results are refined with the network itself",
    "ssim_unrefined": "the inverter's mean SSIM of the same pictures",
    "tpr": "share of the training pictures that are found at a false positive rate of 1 %",
    "auc": "probability that a training picture scores higher than another one; 0.5 is guessing",
    "auc_deviation": "standard deviation of the AUC of guessing on these pictures",
    "lowest_auc": "smallest AUC over the layers",
    "highest_auc": "largest AUC over the layers",
    "lowest_ssim": "smallest mean SSIM over the layers",
    "highest_ssim": "largest mean SSIM over the layers",
    "ssim_of_the_pixels": "SSIM of an inverter of the pixels themselves: what this inverter can reach at best",
    "ssim_without_a_signal": "SSIM of an inverter of shuffled pairs: what it reaches without any output",
    "come_back": "share of the pictures whose reconstruction has an SSIM of 0.9 or more",
    "partly": "share of the pictures whose reconstruction beats the mean picture by an SSIM of 0.1 or more",
    "on_device": "share of the network's parameters that are used up to this layer, and stay on the device",
    "epoch": "epochs of training; 0 is untrained",
    "layer": "name of the module",
    "layers": "number of layers",
    "cosine_training": "cosine of the weights with the best non-negative combination of training pictures' gradients",
    "cosine_others": "the same for as many other pictures of the same classes",
    "difference": "difference of the two cosines; with its interval above 0 the weights betray their training pictures",
    "difference_low": "lower end of the difference's 95 % interval",
    "difference_high": "upper end of the difference's 95 % interval",
    "p": "share of random splits of the pictures whose difference is as large",
    "correlation_training": "mean correlation of the ten best candidates with a training picture, less the class mean",
    "correlation_others": "the same with as many other pictures",
    "best_correlation": "correlation of the best candidate with a training picture",
    "best_correlation_others": "the same with other pictures",
    "ssim_training": "mean SSIM of generated pictures to the training pictures that they were matched to",
    "ssim_held_out": "the same to as many pictures that the network was not trained on",
    "gap": "difference of the two: memorization, if its interval is above 0",
    "gap_low": "lower end of the gap's 95 % interval",
    "gap_high": "upper end of the gap's 95 % interval",
    "answered_as_asked": "share of the generated pictures that the network gives the class they were made for",
    "closest": "the training picture that a generated one is most similar to",
    "ssim_closest": "SSIM of that pair",
    "perceptual": "perceptual distance by a network; 0 for equal pictures",
    "identity_cosine": "cosine of two face embeddings minus their mean; near 0 for two different people",
    "psnr_convolutional": "PSNR of the convolutional decoder",
    "psnr_perceptual": "PSNR of the decoder with a perceptual loss",
    "psnr_adversarial": "PSNR of the decoder with a critic",
    "psnr_ridge": "PSNR of the ridge regression",
    "psnr_searched": "PSNR of the search with the encoder",
    "ssim_convolutional": "SSIM of the convolutional decoder",
    "ssim_perceptual": "SSIM of the decoder with a perceptual loss",
    "ssim_adversarial": "SSIM of the decoder with a critic",
    "ssim_ridge": "SSIM of the ridge regression",
    "ssim_searched": "SSIM of the search with the encoder",
    "person": "number of the person (group)",
    "people": "number of private people",
    "ssim_low": "lower end of the mean SSIM's 95 % interval over people",
    "ssim_high": "upper end of the mean SSIM's 95 % interval over people",
    "accuracy_low": "lower end of the accuracy's 95 % interval over people",
    "accuracy_high": "upper end of the accuracy's 95 % interval over people",
    "class": "true class of the task",
    "class_read": "class that the task's head read; of attributes a code, bit i for attribute i",
    "right": "whether the task's answer is right; of attributes the share that is",
    "recovered": "mean SSIM on a scale from 0 for the mean picture to 1 for a decoder of the pixels",
    "accuracy": "accuracy of the task on private pictures",
    "accuracy_undefended": "accuracy of the task with lambda 0 and no noise",
    "accuracy_by_chance": "accuracy of always answering the most common class",
    "mcc": "Matthews correlation of true and read classes, of attributes the mean; 0 is guessing",
    "mcc_undefended": "Matthews correlation of the task with lambda 0 and no noise",
}
ENDINGS = {
    "_fall": "relative fall of the measure from the untrained network to its lowest epoch, mean over the seeds",
    "_fall_low": "lower end of the fall's 95 % interval over the seeds",
    "_fall_high": "upper end of the fall's 95 % interval over the seeds",
    "_rise": "relative rise of the measure from its lowest epoch to the last one, mean over the seeds",
    "_rise_low": "lower end of the rise's 95 % interval over the seeds",
    "_rise_high": "upper end of the rise's 95 % interval over the seeds",
    "_over_another": "gap of the mean to that of reconstructions from another batch's gradient",
    "_over_mean_picture": "gap of the mean to that of the mean picture",
    "_over_protected": "gap of the mean to that of the protected picture itself",
    "_at": "the layer with this largest figure",
    "_falls_then_rises_in": "number of layers in which it falls and then rises: the intervals of both are above 0",
}
CORRELATION = {
    "rho_": "Spearman's rank correlation of the two measurements named",
    "p_": "two-sided p-value of that correlation; rough below about ten pairs",
    "n_": "number of pairs of that correlation",
}
MEAN = "mean over the pictures of: "


def meaning(name: str) -> str | None:
    """Return what a measurement means; None if it is unknown."""
    base = name.removesuffix("_to_original").removeprefix("right_")
    beside = ", to the original of a protected picture" if base != name else ""
    if base in MEANINGS:
        return MEANINGS[base] + beside
    if name.startswith("gap, "):
        return f"{MEANINGS['gap']}, for a control"
    for beginning, text in CORRELATION.items():
        if base.startswith(beginning):
            return text
    for ending, text in ENDINGS.items():
        if base.endswith(ending):
            return text
    if base.startswith("mean_") and base.removeprefix("mean_") in MEANINGS:
        return MEAN + MEANINGS[base.removeprefix("mean_")] + beside
    return None
