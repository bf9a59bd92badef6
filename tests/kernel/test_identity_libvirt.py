# SPDX-License-Identifier: Apache-2.0
"""A real libvirtd starts a real qemu, and its status file tells whose tap it is.

libvirtd runs in mount and network namespaces of its own, with tmpfs where it
would write; nothing of the host's is touched.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel.identity import IdentityPaths, IdentityResolver
from sentinel.identity.fdinfo import TapHolders
from sentinel.identity.libvirt import LibvirtDomains
from sentinel.identity.qemu import QemuPorts
from sentinel.vm import VmIdentity, VmPort
from tests.harness.namespaces import Namespace
from tests.harness.vhost_user import VhostUserBackend
from tests.harness.waiting import wait_until

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
TOOLS = ("libvirtd", "virsh", "qemu-system-x86_64", "unshare", "nsenter")
MISSING = [tool for tool in TOOLS if shutil.which(tool, path=PATH) is None]
QEMU_DRIVERS = list(Path("/usr/lib").glob("*/libvirt/connection-driver/libvirt_driver_qemu.so"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and taps need root"),
    pytest.mark.skipif(
        bool(MISSING) or not QEMU_DRIVERS or not Path("/etc/libvirt").is_dir(),
        reason="libvirtd with its qemu driver is not installed "
        "(Debian: libvirt-daemon, libvirt-daemon-driver-qemu, libvirt-clients)",
    ),
]

PORT_ID = "5d7a9c1e-3f42-4c0d-9a77-2f8e6b1d4c35"
TAP = "tap5d7a9c1e-3f"
MAC = "fa:16:3e:24:e7:22"

# A user that only the full package makes; libvirt will not start without.
SET_UP = """
set -e
mount --make-rprivate /
cp /etc/passwd /etc/group "$1"
echo libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin >>"$1/passwd"
printf 'libvirt-qemu:x:64055:\\nkvm:x:64056:\\n' >>"$1/group"
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/group" /etc/group
for directory in /run /etc/libvirt /var/lib /var/log /var/cache; do
    mount -t tmpfs none "$directory"
done
mkdir -p /run/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt
cat >/etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
remember_owner = 0
stdio_handler = "file"
END
echo 'auth_unix_rw = "none"' >/etc/libvirt/libvirtd.conf
exec libvirtd
"""

DOMAIN = """
<domain type='qemu'>
  <name>instance-0000001a</name><uuid>{vm_uuid}</uuid>
  <metadata>
    <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
      <nova:name>web-1 &amp; &lt;b&gt;</nova:name>
      <nova:owner>
        <nova:user uuid="1f9b6f3b0c2c4a6c8d5e0f1a2b3c4d5e">alice</nova:user>
        <nova:project uuid="0a1b2c3d4e5f60718293a4b5c6d7e8f9">research</nova:project>
      </nova:owner>
      <nova:ports><nova:port uuid="{port_id}"/></nova:ports>
    </nova:instance>
  </metadata>
  <memory unit='MiB'>16</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    <emulator>{qemu}</emulator>
    {interfaces}
  </devices>
</domain>
"""

TAP_INTERFACE = f"""
<interface type='ethernet'>
  <mac address='{MAC}'/><target dev='{TAP}' managed='no'/><model type='virtio'/>
  <rom enabled='no'/>
</interface>
"""
UNSEEN_INTERFACES = """
<interface type='vhostuser'>
  <mac address='fa:16:3e:00:00:01'/><source type='unix' path='{socket}' mode='client'/>
  <model type='virtio'/><rom enabled='no'/>
</interface>
<interface type='direct'>
  <mac address='fa:16:3e:00:00:02'/><source dev='nic0' mode='bridge'/>
  <model type='virtio'/><rom enabled='no'/>
</interface>
"""


def domain_xml(directory: Path, vm_uuid: str, interfaces: str) -> str:
    """A file for `virsh create`."""
    file = directory / "domain.xml"
    qemu = shutil.which("qemu-system-x86_64", path=PATH)
    file.write_text(
        DOMAIN.format(vm_uuid=vm_uuid, port_id=PORT_ID, interfaces=interfaces, qemu=qemu)
    )
    return str(file)


class Libvirt:
    """A libvirtd in namespaces of its own, seen from outside through /proc."""

    def __init__(self, netns: Namespace, directory: Path) -> None:
        self.log = directory / "log"
        with self.log.open("w") as log:
            self.daemon = netns.popen(
                ["unshare", "--mount", "bash", "-c", SET_UP, "set-up", directory],
                stdout=log,
                stderr=log,
                env={"PATH": PATH},
            )
        self.root = Path(f"/proc/{self.daemon.pid}/root")
        self.status_dir = self.root / "run/libvirt/qemu"
        wait_until(self._answers, 60, "libvirtd", every_s=0.1)

    def virsh(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        namespaces = ["nsenter", f"--target={self.daemon.pid}", "--mount", "--net", "--"]
        return subprocess.run(
            [*namespaces, "virsh", "--connect", "qemu:///system", *words],
            check=check,
            capture_output=True,
            text=True,
            env={"PATH": PATH},
            timeout=60,
        )

    def _answers(self) -> bool:
        if self.daemon.poll() is not None:
            raise RuntimeError(f"libvirtd ended: {self.log.read_text()[-2000:]}")
        # Before it has its own /run, that is the host's.
        own_run = (self.root / "run").stat().st_dev != Path("/run").stat().st_dev
        return own_run and self.virsh("list", check=False).returncode == 0


@pytest.fixture
def libvirt(tmp_path: Path) -> Iterator[tuple[Namespace, Libvirt]]:
    with Namespace("libvirt") as netns:
        yield netns, Libvirt(netns, tmp_path)


def test_libvirt_s_own_file_and_qemu_s_own_descriptor(
    libvirt: tuple[Namespace, Libvirt], tmp_path: Path
) -> None:
    netns, daemon = libvirt
    vm_uuid = str(uuid.uuid4())
    netns.ip(f"tuntap add {TAP} mode tap")
    domains = LibvirtDomains(daemon.status_dir, Path("/proc"))
    assert domains.read() == {}
    daemon.virsh("create", domain_xml(tmp_path, vm_uuid, TAP_INTERFACE), "--paused")

    (vm,) = domains.read().values()
    expected = VmIdentity(
        vm_uuid,
        "instance-0000001a",
        "libvirt",
        port_id=PORT_ID,
        project="research",
        mac=MAC,
        pid=vm.pid,
        display_name="web-1 & <b>",
    )
    assert domains.read() == {TAP: expected}
    with netns.enter():
        # libvirt hands qemu an open descriptor; libvirtd itself is not taken for the VM.
        holder = TapHolders(Path("/proc")).find([TAP])[TAP]
        assert holder == VmIdentity(vm_uuid, "instance-0000001a", "fdinfo", pid=vm.pid)

        async def story() -> dict[str, VmIdentity]:
            paths = IdentityPaths(tmp_path / "no-ovs", daemon.status_dir)
            resolver = IdentityResolver(paths)
            try:
                return await resolver.resolve([TAP])
            finally:
                await resolver.close()

        assert asyncio.run(story()) == {TAP: expected}
    daemon.virsh("destroy", "instance-0000001a")
    wait_until(lambda: domains.read() == {}, 10, "the domain's file to go")
    assert domains.problem is None


def test_ports_that_no_tap_shows(libvirt: tuple[Namespace, Libvirt], tmp_path: Path) -> None:
    netns, daemon = libvirt
    vm_uuid = str(uuid.uuid4())
    netns.ip("link add nic0 type veth peer name nic1")
    netns.ip("link set nic0 up")
    domains = LibvirtDomains(daemon.status_dir, Path("/proc"))
    domains.has_changed()
    domains.has_changed()
    assert not domains.has_changed()
    with VhostUserBackend(tmp_path / "vhost.sock") as backend:
        interfaces = UNSEEN_INTERFACES.format(socket=backend.path)
        daemon.virsh("create", domain_xml(tmp_path, vm_uuid, interfaces), "--paused")
        assert domains.has_changed()
        domains.read()
        by_kind = {port.kind: port for port in domains.ports()}
        pid = by_kind["vhost-user"].vm.pid

        def vm(mac: str) -> VmIdentity:
            return VmIdentity(
                vm_uuid, "instance-0000001a", "libvirt",
                project="research", mac=mac, pid=pid, display_name="web-1 & <b>",
            )  # fmt: skip

        macvtap = by_kind["macvtap"].name
        assert by_kind == {
            "vhost-user": VmPort("vhost-user", vm("fa:16:3e:00:00:01"), "", str(backend.path)),
            "macvtap": VmPort("macvtap", vm("fa:16:3e:00:00:02"), macvtap, "nic0"),
        }
        assert macvtap in netns.links()
        # qemu's own command line names the same socket.
        qemus = QemuPorts(Path("/proc"), tmp_path, budget_s=10)
        by_qemu = [port for port in qemus.find() if port.vm.pid == pid]
        assert [port.key for port in by_qemu] == [("vhost-user", str(backend.path))]
        assert by_qemu[0].vm.uuid == vm_uuid
        daemon.virsh("destroy", "instance-0000001a")
    wait_until(domains.has_changed, 10, "a change of libvirt's directory")
    wait_until(lambda: domains.read() == {} and not domains.ports(), 10, "the domain's file to go")
