"""Definitions of PSNR and SSIM that audits state, of `distortion.batch_psnr` and `distortion.batch_ssim`."""

from onlymymodel.protect.budget.distortion import SSIM_SIGMA, SSIM_WINDOW

SIMILARITY_DEFINITION = {
    "psnr": "10 log10(1 / MSE) over all channels, reconstructions clipped to [0, 1]",
    "ssim": f"kornia; Gaussian window {SSIM_WINDOW}x{SSIM_WINDOW} (on smaller pictures the largest odd one that fits), "
    f"sigma {SSIM_SIGMA}, valid, data range 1, mean over channels",
}
