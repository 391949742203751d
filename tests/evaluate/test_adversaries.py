"""Test the sentences on adversaries in the summary of an evaluation."""

from dataclasses import replace

from results_toys import CHANNELS, toy_results

from onlymymodel.evaluate.adaptive import EXCLUSION
from onlymymodel.evaluate.adversaries import adversary_sentences


def test_the_channel_through_which_judges_read_most_is_named() -> None:
    """Two independent judges: the first reads 1 or may have read 1 of 4 in each channel but the last of eps16."""
    results = toy_results()
    judge, far = results.independent()
    read = {channel: (judge.score("eps8", channel), far.score("eps8", channel)) for channel in CHANNELS[1:]}
    mean = {channel: sum(score.unprotected for score in scores) / 2 for channel, scores in read.items()}
    sentences = dict(adversary_sentences(results))
    # resize50 is no channel of this program, so only JPEG counts
    assert f"through one channel judges read at most {100 * mean['jpeg75']:.1f}%" in sentences["eps8"]
    assert sentences["eps8"].endswith(", after jpeg75")
    assert set(sentences) == {"eps8", "eps16"}


def test_without_channels_and_fine_tuning_there_is_nothing_to_say() -> None:
    assert adversary_sentences(replace(toy_results(), channels=("png",))) == []


def test_fine_tuned_judges_are_compared_with_themselves() -> None:
    results = replace(toy_results(), channels=("png",))
    (judge, _) = results.independent()
    right: dict[str, dict[str, tuple[int | None, ...]]] = {run: {"png": results.labels} for run in results.versions}
    right["clean"]["png"] = (*results.labels[:3], 2)
    adapted = replace(judge, model=f"{judge.model} (adapted)", answers=right, exclusion=EXCLUSION)
    ((run, sentence), _) = adversary_sentences(replace(results, rows=(*results.rows, adapted)))
    assert run == "eps8"
    before = 100 * judge.score("eps8").unprotected
    assert sentence.startswith("judges that are fine-tuned on other protected photos and their originals read 100.0%")
    assert sentence.endswith(f", {before:.1f}% before; of the originals left out they read 75.0%")
