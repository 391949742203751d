"""`omm evaluate`."""

import argparse
import logging

from onlymymodel.cli.assumed import warn_assumed
from onlymymodel.cli.flags import SEVERAL, add_gallery, add_labels, add_machine, add_run_file, folder_here
from onlymymodel.cli.interrupt import exit_on_interrupt
from onlymymodel.cli.parser import Parser
from onlymymodel.cli.recorded_command import recorded_command
from onlymymodel.errors import number_of
from onlymymodel.evaluate.channels import CHANNELS, get_channels
from onlymymodel.surrogates.deployments import DEPLOYMENTS, get_deployments

log = logging.getLogger(__name__)


def add_flags(parser: Parser) -> None:
    """Add the flags."""
    channels = "\n".join(f"  {channel.name:11} {channel.meaning}" for channel in CHANNELS.values())
    deployments = "\n".join(f"  {deployment.name:15} {deployment.meaning}" for deployment in DEPLOYMENTS.values())
    parser.description = (
        "Query the authorized model, the stand-ins and the judges about originals and protected files, and\n"
        "write results.json, results.csv, results.md and report.html to DIR. Answers are cached: a run that was\n"
        "stopped continues without repeating a query."
    )
    parser.details = (
        f"channels (what happens to the files before they are read):\n{channels}\n\n"
        f"deployments (how the owner of a model may read them, and what may happen before):\n{deployments}"
    )
    photos = parser.add_argument_group("photos")
    originals = "the originals; also Parquet files with rows of pictures"
    photos.add_argument("--original", type=folder_here, required=True, metavar="SRC", help=originals)
    several = "folders of protected photos with the file names of the originals; by omm protect or another tool"
    photos.add_argument("--protected", type=folder_here, required=True, nargs="+", metavar="DST", help=several)
    photos.add_argument("--out", type=folder_here, required=True, metavar="DIR", help="folder for the results")
    truth = "by default the labels recorded by omm protect, or else the authorized model's answers to the originals"
    add_labels(photos, truth)
    add_run_file(photos)
    models = parser.add_argument_group("models, by their URIs (see omm models)")
    recorded = "by default as recorded in the first protected folder"
    models.add_argument("--authorized", metavar="URI", help=f"the model that must still read the photos; {recorded}")
    models.add_argument("--surrogate", help=f"stand-ins that were used to protect them; {recorded}", **SEVERAL)
    models.add_argument("--heldout", help="judges: models that were not used to protect them, as evidence", **SEVERAL)
    add_gallery(models)
    how = parser.add_argument_group("measurements")
    through = f"{', '.join(CHANNELS)}, or all (png)"
    how.add_argument("--channels", nargs="+", default=["png"], metavar="NAME", help=through)
    ways = "also read the files as a model may be deployed; all ways if no name is given (--help-all has the names)"
    how.add_argument("--deployments", nargs="*", metavar="NAME", help=ways)
    adapt = "also evaluate the judges that have gradients after further training on protected photos"
    how.add_argument("--adapt", action="store_true", help=adapt)
    how.add_argument(
        "--lpips",
        action="store_true",
        help="download AlexNet for LPIPS if it is not there (pip install 'onlymymodel[lpips]')",
    )
    add_machine(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate folders; return 0 if every model answered every query, else 1."""
    with exit_on_interrupt():
        from onlymymodel.cli.checks import check_evaluation
        from onlymymodel.cli.given import with_recorded_models
        from onlymymodel.data.source import open_source

        source = open_source(arguments.original)
        checked = check_evaluation(arguments, source)
        channels = get_channels(list(CHANNELS) if arguments.channels == ["all"] else arguments.channels)
        deployments = [] if arguments.deployments is None else get_deployments(arguments.deployments)
        from onlymymodel.cli.scores import scores
        from onlymymodel.data.folder import check_destination
        from onlymymodel.data.image_io import MAX_PIXELS
        from onlymymodel.evaluate.folders import PAGE, RESULTS, Evaluation, evaluate_folders
        from onlymymodel.evaluate.terminal_table import to_text
        from onlymymodel.runtime import configure, pick_device
        from onlymymodel.surrogates.known_pictures import unknown_pictures
    configure()
    output = arguments.output
    settings, device = with_recorded_models(checked.settings, arguments.protected[0]), pick_device(arguments.device)
    judges = settings.load_judges(device=device, allow_python=arguments.allow_python, progress=True)
    warn_assumed(judge.model for judge in judges)
    files = [entry.file for entry in checked.photos]
    if unknown := unknown_pictures(judges[0].model.card.uri, files, max_pixels=MAX_PIXELS, first_frame=True):
        log.warning(unknown)
    evaluation = Evaluation(
        source=source,
        protected=tuple(arguments.protected),
        judges=tuple(judges),
        # None means no table; an empty table leaves photos without a label, which is an error
        labels=checked.labels.find(judges[0].model.card),
        attributes=checked.labels.attributes,
        channels=(*channels, *deployments),
        adapt=arguments.adapt,
        lpips=arguments.lpips,
    )
    check_destination(source, arguments.out)
    command = recorded_command(arguments.words)
    results = evaluate_folders(evaluation, arguments.out, command=command, device=device)
    output.say(to_text(results, output.columns))
    if not settings.heldout:
        output.say("no judge took part: these results say nothing about unknown models (--heldout URI ...)")
    output.say(f"\nfigures, tables and pictures: {arguments.out / PAGE} and the files beside it")
    if results.failures:
        queries = number_of(len(results.failures), "query was", "queries were")
        log.warning("%s not answered (counted, and listed in %s)", queries, arguments.out / RESULTS)
    output.add(
        results=arguments.out / RESULTS,
        report=arguments.out / PAGE,
        photos=len(results.photos),
        unanswered=len(results.failures),
        models=scores(results),
    )
    return 1 if results.failures else 0
