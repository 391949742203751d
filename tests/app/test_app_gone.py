"""A removed photo stays removed, even while a worker uses it."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from app_client import FORM, PHOTO
from patience import PATIENCE

from onlymymodel.app.form import read_form
from onlymymodel.app.session import Session, Sessions
from onlymymodel.app.uploaded_photo import PhotoResult, UploadedPhoto
from onlymymodel.data.image_io import Photo
from onlymymodel.errors import UserError


class Watched(UploadedPhoto):
    """A picture that is read until it is removed."""

    def __init__(self, of: UploadedPhoto) -> None:
        super().__init__(of.folder, of.number, of.name, of.width, of.height, of.size)
        self.read, self.unwanted = threading.Event(), threading.Event()

    def _read(self, path: Path) -> Photo:
        photo = super()._read(path)
        self.read.set()
        self.unwanted.wait(PATIENCE)
        return photo

    def discard(self) -> None:
        self.unwanted.set()
        super().discard()


def watched(session: Session) -> Watched:
    photo = Watched(session.add("a.png", PHOTO))
    session.photos[photo.number] = photo
    return photo


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
    photo = watched(session)
    with ThreadPoolExecutor(2) as executor:
        view = executor.submit(photo.view, "before")
        assert photo.read.wait(PATIENCE)
        executor.submit(ending, sessions, session).result()
        view.result()
        assert not photo.folder.exists()
        # a request that found the picture before it went, and waited
        assert executor.submit(photo.view, "before").result() is None
        assert executor.submit(photo.view, "thumb").result() is None
    assert not photo.folder.exists()


def test_the_worker_of_a_tab_that_is_gone_writes_nothing(tmp_path: Path) -> None:
    session = Session(tmp_path)
    photo = session.add("a.png", PHOTO)
    photo.write_protected(PHOTO)
    assert photo.protected.read_bytes() == PHOTO
    session.close()
    photo.write_protected(PHOTO)
    assert list(tmp_path.iterdir()) == []


def test_no_archive_is_packed_of_a_tab_that_is_gone(tmp_path: Path) -> None:
    session = Session(tmp_path)
    photo = session.add("a.png", PHOTO)
    session.settings = read_form(FORM | {"authorized": "zoo:identity-vit"})
    photo.write_protected(PHOTO)
    photo.result = PhotoResult("protected")
    assert session.pack().parent == session.folder
    session.close()
    with pytest.raises(UserError, match="closed"):
        session.pack()
    assert list(tmp_path.iterdir()) == []
