# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong with the broker is said in `status`, and mended it is made good."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.broker.test_publish import expect_all
from tests.harness.between import Between, between
from tests.harness.broker import ACL, LOOPBACK, Listener, Mosquitto
from tests.harness.certificates import Authority
from tests.harness.journals import small_disk
from tests.harness.publisher import USER, Host
from tests.harness.waiting import wait_until

EVENTS = 500


@pytest.fixture(name="plain")
def _plain(broker: Mosquitto) -> int:
    """A port of the same broker that speaks no TLS, for what stands between."""
    return broker.plain_port


def expect_good_again(host: Host, listener: Listener, count: int = EVENTS) -> None:
    expect_all(listener, count)
    wait_until(lambda: host.status()["problems"] == [], 30, "no problem", 0.1)


def wait_for_metric(listener: Listener, name: str, expect: Callable[[float], bool]) -> None:
    def told() -> bool:
        found = listener.metrics().get(f"tapsentinel_{name}")
        return found is not None and expect(found)

    wait_until(told, 30, f"{name}, not {listener.metrics()}", 0.05)


def test_nobody_listens(broker: Mosquitto, listener: Listener, host: Host) -> None:
    host.configure(port=1)
    host.start_daemon()
    host.append(EVENTS)
    host.start()
    host.wait_for(f"not connected to {LOOPBACK}:1 for")
    host.wait_for("Connection refused")
    host.wait_for(f"{EVENTS} events wait in the journal")
    host.stop()
    host.configure()
    host.start()
    expect_good_again(host, listener)


def test_a_broker_whose_certificate_we_do_not_trust(
    broker: Mosquitto, listener: Listener, host: Host, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    tmp_path.chmod(0o755)
    trusted = host.directory / "ca.pem"
    trusted.write_bytes(stranger.certificate.read_bytes())
    host.configure(ca_file=str(trusted))
    host.start_daemon()
    host.append(EVENTS)
    host.start()
    host.wait_for("the broker's certificate is not trusted: see mqtt.ca_file")
    # Files are read anew for each connection: putting the right one there is enough.
    trusted.write_bytes(broker.authority.certificate.read_bytes())
    expect_good_again(host, listener)
    wait_for_metric(listener, "mqtt_failures_total", lambda told: told >= 1)


def test_a_broker_by_another_name(listener: Listener, host: Host) -> None:
    host.configure(host="localhost")
    host.start_daemon()
    host.start()
    host.wait_for("the broker's certificate is for another")


def test_a_broker_that_does_not_trust_us(listener: Listener, host: Host, tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path, "stranger").issue("hv-1")
    for file in (certificate, key):
        (host.directory / file.name).write_bytes(file.read_bytes())
        (host.directory / file.name).chmod(0o644)
    host.configure(
        cert_file=str(host.directory / certificate.name), key_file=str(host.directory / key.name)
    )
    host.start_daemon()
    host.start()
    host.wait_for("the broker does not trust our certificate")


def test_a_broker_that_wants_a_certificate(host: Host) -> None:
    host.configure(cert_file="", key_file="")
    host.start_daemon()
    host.start()
    host.wait_for("the broker wants a client certificate")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.unlink(), "No such file"),
        (lambda file: file.write_text("-----BEGIN CERTIFICATE-----\nx"), "mqtt.cert_file"),
        (lambda file: file.chmod(0), "Permission denied"),
    ],
)
def test_a_certificate_that_cannot_be_read(
    listener: Listener, host: Host, spoil: Callable[[Path], None], said: str
) -> None:
    own = host.directory / "own.pem"
    own.write_bytes(host.broker.certificate.read_bytes())
    own.chmod(0o644)
    host.configure(cert_file=str(own))
    spoil(own)
    host.start_daemon()
    host.append(EVENTS)
    host.start()
    host.wait_for(said)
    own.unlink(missing_ok=True)
    own.write_bytes(host.broker.certificate.read_bytes())
    own.chmod(0o644)
    expect_good_again(host, listener)


def test_a_credential_that_systemd_gives(
    listener: Listener, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.configure(key_file="mqtt.key")
    host.start_daemon()
    host.append(EVENTS)
    host.start()
    host.wait_for("is the name of a credential, and systemd gave none")
    host.stop()
    (host.directory / "mqtt.key").write_bytes(host.broker.key.read_bytes())
    (host.directory / "mqtt.key").chmod(0o644)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(host.directory))
    host.start()
    expect_good_again(host, listener)


def test_a_broker_that_accepts_and_never_acknowledges(
    listener: Listener, host: Host, plain: int
) -> None:
    proxy = Between(plain)
    with between(proxy.serve) as port:
        host.configure(
            port=port, tls=False, ca_file="", cert_file="", key_file="", ack_timeout="8s"
        )
        host.start_daemon()
        host.start()
        wait_until(lambda: host.status()["mqtt"].get("state") == "connected", 20, "it", 0.1)
        proxy.swallow_acknowledgements = True
        host.append(EVENTS)
        host.wait_for("takes messages and has acknowledged none for")
        host.wait_for("the broker takes messages and has acknowledged none for 8 s")
        assert host.status()["mqtt"]["cursor_seq"] == 0, "nothing is taken for told"
        proxy.swallow_acknowledgements = False
        wait_until(lambda: host.status()["mqtt"]["lag"] == 0, 30, "all", 0.1)
        wait_for_metric(listener, "mqtt_failures_total", lambda told: told >= 1)
    ids = [one["id"] for one in listener.events()]
    assert len(set(ids)) == EVENTS
    assert [*dict.fromkeys(ids)] == sorted(set(ids), key=lambda one: int(one.split("-")[1]))


def test_a_broker_that_is_stopped_and_goes_on(
    broker: Mosquitto, listener: Listener, host: Host
) -> None:
    host.configure(ack_timeout="60s")
    host.start_daemon()
    host.start()
    host.append(EVENTS)
    expect_all(listener, EVENTS)
    broker.signal(signal.SIGSTOP)
    host.append(EVENTS)
    host.wait_for("has acknowledged none for")
    host.wait_for(f"{EVENTS} events wait")
    broker.signal(signal.SIGCONT)
    expect_good_again(host, listener, 2 * EVENTS)


def test_a_broker_that_knows_no_mqtt_5(listener: Listener, host: Host, plain: int) -> None:
    proxy = Between(plain, old=True)
    with between(proxy.serve) as port:
        host.configure(port=port, tls=False, ca_file="", cert_file="", key_file="")
        host.start_daemon()
        host.append(EVENTS)
        host.start()
        expect_all(listener, EVENTS)
        wait_until(lambda: host.status()["mqtt"]["lag"] == 0, 20, "no lag", 0.1)
        assert host.status()["mqtt"]["protocol"] == "3.1.1"
        assert proxy.connects == [5, 4]


def test_an_acl_that_forbids_events_loses_none(
    broker: Mosquitto, listener: Listener, host: Host
) -> None:
    """MQTT 5 says so in the acknowledgement: it is none."""
    broker.rewrite_acl(ACL.replace("hv-1/#", "hv-1/status"))
    host.start_daemon()
    host.append(EVENTS)
    host.start()
    host.wait_for("the broker refuses events (Not authorized)")
    assert host.status()["mqtt"]["cursor_seq"] == 0
    broker.rewrite_acl(ACL)
    expect_good_again(host, listener)


def test_a_broker_with_small_packets_is_told_what_fits(host: Host) -> None:
    with Mosquitto("max_packet_size 900") as small, Host(small) as other:
        listener = Listener(small)
        other.start_daemon()
        other.append(EVENTS)
        other.start()
        expect_all(listener, EVENTS)
        assert listener.events()[0]["data"]["body"]["message"] == "too large for the broker"
        other.wait_for("too many for the broker, and is left out")
        listener.close()


def test_a_full_disk_of_the_publisher_s_keeps_nothing_up(
    listener: Listener, host: Host, tmp_path: Path
) -> None:
    with small_disk(host.directory / "disk") as disk:
        shutil.chown(disk.path, USER)
        host.configure(state_dir=str(disk.path / "state"), metrics_interval="1s")
        host.start_daemon()
        host.start()
        host.append(EVENTS)
        expect_all(listener, EVENTS)
        disk.fill()
        host.set_ports(["tap1"])
        host.append(EVENTS)
        expect_all(listener, 2 * EVENTS)
        host.wait_for("ports.json cannot be written (No space left on device)")
        wait_for_metric(listener, "mqtt_problems", lambda told: told == 1)
        wait_until(lambda: host.status()["mqtt"]["lag"] == 0, 20, "no lag", 0.1)
        host.kill()
        host.start()
        host.append(EVENTS)
        expect_all(listener, 3 * EVENTS)
        disk.empty()
        wait_until(lambda: host.status()["problems"] == [], 30, "no problem", 0.1)
        assert host.stop() == 0


def test_a_full_disk_of_the_journal_s_is_said_and_what_waits_is_told(
    listener: Listener, host: Host
) -> None:
    host.configure(metrics_interval="1s")
    with small_disk(host.directory / "disk") as disk:
        host.start_daemon(journal=disk.path / "journal.db")
        host.start()
        host.append(EVENTS)
        expect_all(listener, EVENTS)
        disk.fill()
        host.append(EVENTS)
        host.append(EVENTS)
        host.wait_for("entries have not reached")
        wait_for_metric(listener, "journal_ok", lambda told: told == 0)
        wait_for_metric(listener, "journal_pending", lambda told: told > 0)
        wait_for_metric(listener, "problems", lambda told: told > 0)
        # And the word that the disk is full.
        expect_all(listener, 3 * EVENTS + 1)
        disk.empty()
        host.append(EVENTS)
        expect_all(listener, 4 * EVENTS + 2)
        wait_for_metric(listener, "journal_ok", lambda told: told == 1)
        wait_until(lambda: host.status()["problems"] == [], 30, "no problem", 0.1)
        assert host.stop() == 0
        host.kill_daemon()


def test_a_subscriber_that_never_reads_delays_nobody(
    broker: Mosquitto, listener: Listener, host: Host
) -> None:
    with broker.deaf_subscriber():
        host.start_daemon()
        host.append(20 * EVENTS)
        host.start()
        expect_all(listener, 20 * EVENTS)
        wait_until(lambda: host.status()["mqtt"]["lag"] == 0, 20, "no lag", 0.1)
        assert host.status()["problems"] == []
        wait_for_metric(listener, "mqtt_connects_total", lambda told: told == 1)
