import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from morag.domain.errors import StartupError
from morag.storage.folder import LOCK_NAME, DataFolder, file_system_of, is_network

HOLD = """
import sys, pathlib
from morag.storage.folder import DataFolder
with DataFolder.lock(pathlib.Path(sys.argv[1]), boot_id="boot-1"):
    print("held", flush=True)
    sys.stdin.read()
"""


def start_holder(path: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def end(holder: subprocess.Popen[str], sent: signal.Signals) -> None:
    holder.send_signal(sent)
    holder.communicate(timeout=30)


def test_folder_is_made_private(tmp_path: Path) -> None:
    with DataFolder.lock(tmp_path / "a" / "b", boot_id="boot-1") as folder:
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        assert (folder.path / LOCK_NAME).read_text() == f"{os.getpid()} boot-1\n"


def test_open_folder_is_closed_to_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    DataFolder.lock(tmp_path, boot_id="boot-1").close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_second_server_is_refused_and_told_the_first_ones_process(tmp_path: Path) -> None:
    holder = start_holder(tmp_path)
    try:
        with pytest.raises(StartupError) as error:
            DataFolder.lock(tmp_path, boot_id="boot-1")
        assert error.value.code == "data_folder_in_use"
        assert f"process id {holder.pid}" in error.value.message
        assert "MORAG_DATA_DIR" in (error.value.hint or "")
    finally:
        end(holder, signal.SIGTERM)


def test_killed_server_leaves_the_folder_free(tmp_path: Path) -> None:
    end(start_holder(tmp_path), signal.SIGKILL)
    assert (tmp_path / LOCK_NAME).read_text() != ""
    DataFolder.lock(tmp_path, boot_id="boot-2").close()


def test_child_processes_do_not_inherit_the_lock(tmp_path: Path) -> None:
    folder = DataFolder.lock(tmp_path, boot_id="boot-1")
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        try:
            folder.close()
            DataFolder.lock(tmp_path, boot_id="boot-1").close()
        finally:
            child.kill()


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    folder = DataFolder.lock(tmp_path, boot_id="boot-1")
    folder.close()
    folder.close()
    DataFolder.lock(tmp_path, boot_id="boot-1").close()


def test_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError) as error:
        DataFolder.lock(tmp_path / "file" / "data", boot_id="boot-1")
    assert error.value.code == "data_folder_unusable"
    assert str(tmp_path) not in f"{error.value.message}{error.value.hint}"


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "smb3", "fuse.sshfs", "9p"])
def test_network_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(StartupError) as error:
        DataFolder.lock(tmp_path, boot_id="boot-1", mounts=[("/", "ext4"), (str(tmp_path.parent), kind)])
    assert error.value.code == "network_file_system"
    assert kind in error.value.message


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "apfs", "zfs", "fuse.fuse-overlayfs"])
def test_local_file_system_is_taken(kind: str) -> None:
    assert not is_network(kind)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/srv/x", "nfs"),
        ("/srv", "nfs"),
        ("/srv2", "ext4"),
        ("/srv/local/data", "xfs"),
        ("/mnt/a", "tmpfs"),
    ],
)
def test_deepest_and_latest_mount_decides(path: str, kind: str) -> None:
    mounts = [("/", "ext4"), ("/srv", "nfs"), ("/srv/local", "xfs"), ("/mnt", "ext4"), ("/mnt", "tmpfs")]
    assert file_system_of(Path(path), mounts) == kind
