"""The table of all commands: what `omm --help` and `omm COMMAND --help` show of them.

Every flag that a command has is in its `--help-all`; a flag is shown by `--help` if its row here names it.
"""

from dataclasses import dataclass

ONE_OWN = '--authorized "checkpoint:mine.safetensors?arch=timm:resnet50"'
THREE = "timm:resnet18.a1_in1k timm:deit_tiny_patch16_224.fb_in1k timm:mobilenetv3_large_100.ra_in1k"
BUNDLED = "--authorized zoo:identity-residual --surrogate zoo:identity-plain zoo:identity-vit"


@dataclass(frozen=True)
class Command:
    """A command, as its help shows it.

    Attributes:
        summary: line in the list of commands.
        usual: flags that `--help` shows; positional arguments are always shown.
        examples: purpose and command line of each example.
        progress: whether it works long enough to have `--progress`.
        photos: whether it works photo by photo, so that `--verbose` has a line for each.
    """

    summary: str
    usual: tuple[str, ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    progress: bool = True
    photos: bool = False


# the module of a command has its name, with underscores, and is imported when the command is used
COMMANDS = {
    "protect": Command(
        "protect a folder of photos",
        ("--out", "--preset", "--authorized", "--surrogate", "--heldout", "--gallery", "--strength", "--labels",
         "--run", "--exclude", "--dry-run", "--json", "--verbose"),
        (
            ("photos of things and places, by settings that are bundled",
             "omm protect photos --out protected --preset photos"),
            ("for a model of your own; the stand-ins take the place of models that you do not know",
             f"omm protect photos --out protected {ONE_OWN} --surrogate {THREE}"),
            ("say what would be done, how long it takes and how much memory it needs",
             "omm protect photos --out protected --preset photos --dry-run"),
        ),
        photos=True,
    ),
    "merge": Command(
        "merge the shards of omm protect --shard",
        ("--sign", "--json"),
        (
            ("two machines, each with half of the photos",
             "omm protect photos --out protected --preset photos --shard 1/2"),
            ("then, on one of them", "omm merge protected"),
            ("signed", "omm merge protected --sign key.pem"),
        ),
        progress=False,
    ),
    "status": Command(
        "say what a run has done so far, and when it will end",
        ("--last", "--json"),
        (
            ("from another terminal, while omm protect is at work", "omm status protected"),
            ("with the last ten photos", "omm status protected --last 10"),
            ("for a script", "omm status protected --json"),
        ),
        progress=False,
    ),
    "verify": Command(
        "check the protected files of a folder again",
        ("--source", "--without-originals", "--authorized", "--surrogate", "--authorized-only", "--public-key",
         "--json", "--verbose"),
        (
            ("the files, against the originals that the folder records", "omm verify protected"),
            ("where the originals are not at hand", "omm verify protected --without-originals"),
            ("what the holder of a key has signed", "omm verify protected --public-key key.pub"),
        ),
        photos=True,
    ),
    "evaluate": Command(
        "measure who still reads protected photos",
        ("--original", "--protected", "--out", "--heldout", "--authorized", "--surrogate", "--labels", "--channels",
         "--deployments", "--preset", "--json"),
        (
            ("a folder by omm protect, judged by two models that took no part",
             "omm evaluate --original photos --protected protected --out evaluation "
             "--heldout onnx:judge.onnx timm:convnext_atto.d2_in1k"),
            ("also after JPEG 75, and after another size",
             "omm evaluate --original photos --protected protected --out evaluation --heldout onnx:judge.onnx "
             "--channels png jpeg75 resize"),
            ("folders by any tools side by side",
             f"omm evaluate --original photos --protected ours theirs --out evaluation {ONE_OWN} "
             "--heldout onnx:judge.onnx --labels labels.csv"),
        ),
    ),
    "tune": Command(
        "find the least visible budget that protects your photos",
        ("--out", "--preset", "--authorized", "--surrogate", "--heldout", "--target-heldout", "--target-kept",
         "--through", "--over", "--sample", "--per-image", "--dry-run", "--labels", "--json"),
        (
            ("at most one photo in ten is read by a model that took no part",
             f"omm tune photos --out tuned {ONE_OWN} --surrogate {THREE} --heldout timm:convnext_atto.d2_in1k"),
            ("the least budget of every photo",
             f"omm tune photos --out tuned {ONE_OWN} --surrogate {THREE} --heldout onnx:judge.onnx --per-image"),
            ("then protect with what was found", "omm protect photos --out protected --run tuned/run.toml"),
        ),
    ),
    "preset": Command("list or show the bundled settings"),
    "preset list": Command(
        "list the presets",
        ("--json",),
        (("what there is", "omm preset list"), ("for a script", "omm preset list --json")),
        progress=False,
    ),
    "preset show": Command(
        "print the run file of a preset",
        ("--json",),
        (
            ("a run file to edit", "omm preset show photos > run.toml"),
            ("then use it", "omm protect photos --out protected --run run.toml"),
        ),
        progress=False,
    ),
    "models": Command(
        "list the kinds of models, or check models",
        ("--preset", "--to", "--device", "--allow-python", "--json"),
        (
            ("the kinds of models, and the bundled ones", "omm models"),
            ("load a model and check it before a long run", "omm models timm:resnet18.a1_in1k"),
            ("fetch the models of a preset for a machine without a network",
             "omm models fetch --preset photos --to weights"),
            ("a model of your own", 'omm models "checkpoint:mine.safetensors?arch=timm:resnet50&classes=1000"'),
        ),
    ),
    "demo": Command(
        "protect rendered portraits and show the result; needs no files and no network",
        ("--out", "--photos", "--strength", "--pretrained", "--json", "--verbose"),
        (
            ("portraits for bundled models; then open omm-demo/report.html", "omm demo"),
            ("fewer portraits, in another folder", "omm demo --photos 8 --out demo"),
            ("ImageNet models, which are downloaded", "omm demo --pretrained"),
        ),
        photos=True,
    ),
    "app": Command(
        "open a page in the browser to protect, compare and save photos; needs onlymymodel[app]",
        ("--port", "--no-browser", "--device", "--json"),
        (
            ("open the page", "omm app"),
            ("print its address only", "omm app --no-browser --port 8000"),
            ("for models on a GPU", "omm app --device cuda"),
        ),
        progress=False,
    ),
    "audit": Command("measure what gradients, layers, weights or representations give away"),
    "audit gradients": Command(
        "what a gradient that is shared in training gives away about the pictures",
        ("--out", "--quick", "--model", "--network", "--limit", "--attacks", "--defenses", "--batch", "--protected",
         "--json"),
        (
            ("a first verdict, on rendered portraits", "omm audit gradients --quick --out audit"),
            ("of your model, on your pictures", "omm audit gradients photos --model timm:resnet18.a1_in1k --out audit"),
            ("with defenses", "omm audit gradients photos --out audit --defenses none noise:0.01 topk:0.1"),
        ),
    ),
    "audit intermediate": Command(
        "what the output of each layer gives away",
        ("--out", "--quick", "--model", "--network", "--members", "--layers", "--most-layers", "--steps", "--json"),
        (
            ("of a small network, on rendered portraits", "omm audit intermediate --out audit"),
            ("of your model", "omm audit intermediate photos --model timm:resnet18.a1_in1k --out audit"),
            ("with the pictures that it was trained on",
             "omm audit intermediate others --members train --model timm:resnet18.a1_in1k --out audit"),
        ),
    ),
    "audit weights": Command(
        "what released weights give away about the training pictures",
        ("--out", "--quick", "--model", "--network", "--others", "--limit", "--steps", "--json"),
        (
            ("of a small network, on rendered portraits", "omm audit weights --out audit"),
            ("of your model", "omm audit weights train --others test --model timm:resnet18.a1_in1k --out audit"),
            ("of a small transformer", "omm audit weights --network vit --out audit"),
        ),
    ),
    "audit representation": Command(
        "what a protected representation gives away, and how well the task still works",
        ("--out", "--quick", "--weights", "--public", "--steps", "--embedder", "--json"),
        (
            ("on rendered portraits", "omm audit representation --out audit"),
            ("on photos that are sorted as CLASS/PERSON/photo", "omm audit representation photos --out audit"),
            ("for three weights of hiding the picture", "omm audit representation --out audit --weights 0 1 4"),
        ),
    ),
    "protect-representation": Command(
        "train an encoder whose output serves a task but does not give the picture away",
        ("--out", "--weight", "--public", "--steps", "--embedder", "--json"),
        (
            ("on rendered portraits", "omm protect-representation --out encoder"),
            ("on photos that are sorted as CLASS/PERSON/photo", "omm protect-representation photos --out encoder"),
            ("hide the picture more, at a cost for the task", "omm protect-representation --out encoder --weight 8"),
        ),
    ),
    "doctor": Command(
        "check this installation: versions, device, memory, caches, extras and one photo",
        ("--device", "--json"),
        (
            ("look for what is broken", "omm doctor"),
            ("on a GPU", "omm doctor --device cuda"),
            ("for a bug report", "omm doctor --json"),
        ),
        progress=False,
    ),
    "completion": Command(
        "print a script that completes commands and flags in your shell",
        ("--json",),
        (
            ("bash, now and for new shells", "omm completion bash > ~/.local/share/bash-completion/completions/omm"),
            ("zsh, in a folder of $fpath", "omm completion zsh > ~/.zfunc/_omm"),
            ("tcsh", "omm completion tcsh > ~/.omm.tcsh"),
        ),
        progress=False,
    ),
}  # fmt: skip
