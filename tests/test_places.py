"""Shell. Each control socket has files of its own."""

from pathlib import PurePosixPath

from meshtrio.places import list_path, lock_path


def test_two_sockets_of_one_folder_share_nothing() -> None:
    one, other = PurePosixPath("/run/meshtrio/a.sock"), PurePosixPath("/run/meshtrio/a.other")
    files = {lock_path(one), lock_path(other), list_path(one), list_path(other), one, other}
    assert len(files) == 6
    assert {path.parent for path in files} == {one.parent}
