"""Which file systems SQLite is not safe on, by what the system says of its mounts."""

import subprocess
import time

import pytest
from mounts import mounted
from needs import need_program

from nas.driver.filesystem import is_network, kind_of, linux_mounts, macos_mounts, network_kind

MOUNTINFO = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 27 0:22 / /sys rw,relatime - sysfs sysfs rw
40 27 0:30 / /home rw,relatime shared:12 - nfs4 server:/export/home rw,vers=4.2
41 40 0:31 / /home/me/my\\040cloud rw - fuse.sshfs me@far: rw
42 40 0:32 / /home/me/fast rw - xfs /dev/vdb rw
43 27 0:33 / /mnt/c rw - 9p C:\\\\134 rw,aname=drvfs
44 27 0:34 / /mnt/win rw - cifs //server/share rw
45 27 0:35 / /mnt/usb rw - fuseblk /dev/sdb1 rw
46 27 0:36 / /data rw - ext4 /dev/vdc rw
47 27 0:37 / /data rw master:1 propagate_from:2 - ceph mon:/ rw
48 27 0:38 / /over rw - fuse.fuse-overlayfs fuse-overlayfs rw
broken line
"""
MOUNTED = """\
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
devfs on /dev (devfs, local, nobrowse)
//me@server/share on /Volumes/the share (smbfs, nodev, nosuid, mounted by me)
server:/export on /Volumes/export (nfs)
"""


@pytest.mark.parametrize(
    ("place", "kind", "network"),
    [
        ("/work/studies/a", "ext4", False),
        ("/home/me/studies/a", "nfs4", True),
        ("/homely/studies", "ext4", False),
        ("/home/me/my cloud/studies", "fuse.sshfs", True),
        ("/home/me/fast/studies", "xfs", False),
        ("/mnt/c/Users/me/studies", "9p", True),
        ("/mnt/win", "cifs", True),
        ("/mnt/usb/studies", "fuseblk", False),
        ("/data/studies", "ceph", True),
        ("/over/studies", "fuse.fuse-overlayfs", False),
    ],
)
def test_the_deepest_and_latest_mount_says_where_a_folder_lies(place, kind, network):
    assert kind_of(place, linux_mounts(MOUNTINFO)) == kind
    assert is_network(kind) == network


@pytest.mark.parametrize(
    ("place", "kind", "network"),
    [
        ("/Users/me/studies", "apfs", False),
        ("/Volumes/the share/studies", "smbfs", True),
        ("/Volumes/export/studies", "nfs", True),
    ],
)
def test_mounts_of_macos_are_read_as_well(place, kind, network):
    assert kind_of(place, macos_mounts(MOUNTED)) == kind
    assert is_network(kind) == network


def test_local_folder_is_no_networks(tmp_path):
    assert network_kind(tmp_path) == ""
    assert network_kind(tmp_path / "not" / "there" / "yet") == ""


def test_tmpfs_mounted_here_is_no_networks(tmp_path):
    with mounted(tmp_path / "a b", "size=1m") as folder:
        assert network_kind(folder / "studies") == ""


@pytest.mark.slow
def test_fuse_mounted_here_is_known(tmp_path):
    bindfs = need_program("bindfs", "apt-get install -y bindfs")
    (tmp_path / "far").mkdir()
    folder = tmp_path / "a b"
    folder.mkdir()
    subprocess.run([bindfs, str(tmp_path / "far"), str(folder)], check=True)
    try:
        until = time.monotonic() + 10
        while not folder.is_mount() and time.monotonic() < until:
            time.sleep(0.05)
        (folder / "studies").mkdir()
        assert network_kind(folder / "studies" / "tiny").startswith("fuse")
    finally:
        subprocess.run(["umount", str(folder)], check=True)
