"""A photo that was let go stays gone, whoever is at work on it."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from app_client import FORM, PHOTO

from onlymymodel.app.choice import read_choice
from onlymymodel.app.picture import Picture, Result
from onlymymodel.app.session import Session, Sessions
from onlymymodel.data.image_io import Photo
from onlymymodel.errors import UserError


class Watched(Picture):
    """A picture that is read until somebody wants it gone."""

    def __init__(self, of: Picture) -> None:
        super().__init__(of.folder, of.number, of.name, of.width, of.height, of.size)
        self.read, self.unwanted = threading.Event(), threading.Event()

    def _read(self, path: Path) -> Photo:
        photo = super()._read(path)
        self.read.set()
        self.unwanted.wait(5)
        return photo

    def discard(self) -> None:
        self.unwanted.set()
        super().discard()


def watched(session: Session) -> Watched:
    picture = Watched(session.add("a.png", PHOTO))
    session.pictures[picture.number] = picture
    return picture


def _removed(_: Sessions, session: Session) -> None:
    session.remove(1)


def _closed(sessions: Sessions, session: Session) -> None:
    sessions.close(session.id)


@pytest.mark.parametrize("ending", [_removed, _closed])
def test_a_view_that_is_being_made_does_not_bring_a_photo_back(
    ending: Callable[[Sessions, Session], None], tmp_path: Path
) -> None:
    sessions = Sessions(tmp_path)
    session = sessions.new()
    picture = watched(session)
    with ThreadPoolExecutor(2) as executor:
        view = executor.submit(picture.view, "before")
        assert picture.read.wait(5)
        executor.submit(ending, sessions, session).result()
        view.result()
        assert not picture.folder.exists()
        # a request that found the picture before it went, and waited
        assert executor.submit(picture.view, "before").result() is None
        assert executor.submit(picture.view, "thumb").result() is None
    assert not picture.folder.exists()


def test_the_worker_of_a_tab_that_is_gone_writes_nothing(tmp_path: Path) -> None:
    session = Session(tmp_path)
    picture = session.add("a.png", PHOTO)
    picture.keep(PHOTO)
    assert picture.protected.read_bytes() == PHOTO
    session.close()
    picture.keep(PHOTO)
    assert list(tmp_path.iterdir()) == []


def test_no_archive_is_packed_of_a_tab_that_is_gone(tmp_path: Path) -> None:
    session = Session(tmp_path)
    picture = session.add("a.png", PHOTO)
    session.choice = read_choice(FORM | {"authorized": "zoo:identity-vit"})
    picture.keep(PHOTO)
    picture.result = Result("protected")
    assert session.pack().parent == session.folder
    session.close()
    with pytest.raises(UserError, match="closed"):
        session.pack()
    assert list(tmp_path.iterdir()) == []
