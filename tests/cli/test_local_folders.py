"""The address of a store is refused where only a folder of this machine will do."""

from pathlib import Path

import pytest

from onlymymodel.cli.main import main


@pytest.mark.parametrize(
    "words",
    [
        "demo --out",
        "models fetch timm:resnet18.a1_in1k --to",
        "audit gradients --out",
        "audit gradients --out out",
        "audit gradients --out out --protected",
        "audit intermediate --out out --members",
        "audit weights --out out --others",
        "protect-representation --out",
        "merge",
        "status",
        "tune photos --out",
        "evaluate --original photos --protected protected --out",
    ],
)
def test_a_store_is_no_folder_called_s3(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*words.split(), "s3://bucket/folder"]) == 2
    assert "a store will not do here: copy the folder to this machine first" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
