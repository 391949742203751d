"""The schemes of model URIs: one row of `SCHEMES` and one loader function for each."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

VARIABLE = "OMM_MODELS"  # of the environment: the folder of weights that runs use, and do not add to
CARD_OPTIONS = ("task", "family", "parent", "licence", "labels", "classes")
GALLERY_OPTIONS = ("gallery", "threshold")  # turn an embedder into a classifier of people
KEEP_OPTIONS = ("keep",)  # the attributes, or classes of objects, that count
DETECTOR_OPTIONS = ("format",)  # how the outputs of an ONNX detector are read
WORD_OPTIONS = ("template",)  # text around each class name, for the text tower of a CLIP-like model
READING_OPTIONS = ("crop_pct", "fit", "interpolation", "mean", "std")  # how a photo becomes an input of the right size
PREPROCESS_OPTIONS = ("size", *READING_OPTIONS)
SERVER_OPTIONS = ("input", "output", "timeout", "retries", "budget")
PATH_OPTIONS = ("labels", "gallery", "synonyms")  # options whose value is a local file or folder

CHAT_OPTIONS = ("model", "ask", "synonyms", "max_tokens", "temperature", "timeout", "retries", "budget")

REKOGNITION_OPTIONS = ("synonyms", "threshold", "region", "timeout", "retries", "budget")

CLASSIFIER = (*CARD_OPTIONS, *GALLERY_OPTIONS, *KEEP_OPTIONS, *PREPROCESS_OPTIONS)
SERVER = (*CARD_OPTIONS, *KEEP_OPTIONS, *PREPROCESS_OPTIONS, *SERVER_OPTIONS)


@dataclass(frozen=True)
class Scheme:
    """One scheme of model URIs: its options and its loaders.

    Loaders are "module:function" below `onlymymodel.surrogates`, imported when the first model of the scheme is loaded
    (timm and torchvision alone take seconds). Each takes the `ModelUri`.

    Attributes:
        example: URI for help and error messages.
        options: names of the query options that are understood.
        loader: gives a `Loaded` network with gradients; empty for a model that can only judge.
        black_box_loader: gives a `BlackBox`, or a `Loaded` network that is then used as one; empty where black boxes
            are loaded by `loader` too.
        is_file: the part after the colon is a local file.
        is_remote: the model is on a server, which images are sent to. Unknown options are passed on to it.
        runs_code: loading it runs code of the user, which needs `--allow-python`.
        downloads: its weights are downloaded once, if they are not there yet.
        guide_modules, judge_modules: modules of the extra, named like the scheme, that a model with gradients and a
            judge need.
    """

    example: str
    options: tuple[str, ...] = CLASSIFIER
    loader: str = ""
    black_box_loader: str = ""
    is_file: bool = False
    is_remote: bool = False
    runs_code: bool = False
    downloads: bool = False
    guide_modules: tuple[str, ...] = ()
    judge_modules: tuple[str, ...] = ()

    @property
    def judges_only(self) -> bool:
        """Return whether its models give no gradients, so that they can judge but not guide the optimizer."""
        return not self.loader

    @property
    def help(self) -> str:
        """The example with its restriction in parentheses, if any."""
        if self.runs_code:
            return f"{self.example} (needs --allow-python)"
        return f"{self.example} (only judges)" if self.judges_only else self.example


SCHEMES = {
    "timm": Scheme("timm:resnet50.a1_in1k", loader="pretrained:load_timm", downloads=True),
    "hf-hub": Scheme("hf-hub:org/repo@revision", loader="pretrained:load_hf_hub", downloads=True),
    "torchvision": Scheme("torchvision:resnet50@IMAGENET1K_V2", loader="pretrained:load_torchvision", downloads=True),
    "clip": Scheme(
        "clip:ViT-B-32@openai?labels=classes.txt",
        options=(*CLASSIFIER, *WORD_OPTIONS),
        loader="clip:load_clip",
        downloads=True,
        guide_modules=("open_clip",),
        judge_modules=("open_clip",),
    ),
    "checkpoint": Scheme(
        "checkpoint:weights.safetensors?arch=timm:resnet50&classes=1000",
        options=(*CLASSIFIER, *WORD_OPTIONS, "arch"),
        loader="checkpoint:load_checkpoint",
        is_file=True,
    ),
    "onnx": Scheme(
        "onnx:model.onnx",
        options=(*CLASSIFIER, *DETECTOR_OPTIONS),
        loader="onnx_file:load_onnx",
        black_box_loader="onnx_black_box:load_onnx_judge",
        is_file=True,
        guide_modules=("onnx", "onnx2torch"),
        judge_modules=("onnx", "onnxruntime"),
    ),
    "facenet": Scheme("facenet:vggface2", loader="facenet:load_facenet", downloads=True),
    "mtcnn": Scheme(
        "mtcnn:faces?size=640",
        options=("family", "parent", "licence", "size", "threshold"),
        loader="mtcnn_network:load_mtcnn",
        black_box_loader="mtcnn_network:load_mtcnn_judge",
    ),
    "zoo": Scheme("zoo:identity-residual", loader="bundled:load_zoo"),
    "python": Scheme(
        "python:module:factory",
        loader="python_factory:load_network",
        black_box_loader="python_factory:load_judge",
        runs_code=True,
    ),
    "http": Scheme(
        "http://localhost:8080/v2/models/NAME",
        options=SERVER,
        black_box_loader="http_black_box:HttpBlackBox",
        is_remote=True,
    ),
    "https": Scheme(
        "https://example.org/v2/models/NAME/versions/1",
        options=SERVER,
        black_box_loader="http_black_box:HttpBlackBox",
        is_remote=True,
    ),
    "openai": Scheme(
        "openai:https://HOST/v1?model=NAME&labels=classes.txt",
        options=("task", "family", "parent", "licence", "labels", *CHAT_OPTIONS),
        black_box_loader="chat_black_box:ChatBlackBox",
        is_remote=True,
    ),
    "rekognition": Scheme(
        "rekognition:labels?labels=classes.txt",
        options=("task", "family", "parent", "licence", "labels", *REKOGNITION_OPTIONS),
        black_box_loader="rekognition:RekognitionBlackBox",
        is_remote=True,
        judge_modules=("boto3",),
    ),
    "recorded": Scheme(
        "recorded:answers.jsonl?classes=1000",
        options=(*CARD_OPTIONS, "model", "view"),
        black_box_loader="recorded_answers:RecordedBlackBox",
        is_file=True,
    ),
}


def import_loader(name: str) -> Callable[..., Any]:
    """Import the "module:function" of a row of `SCHEMES`."""
    module, _, function = name.partition(":")
    loader: Callable[..., Any] = getattr(importlib.import_module(f"onlymymodel.surrogates.{module}"), function)
    return loader
