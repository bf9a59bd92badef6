# SPDX-License-Identifier: Apache-2.0
"""What an event may be about."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """Kinds of events. A reader must let pass those it does not know."""

    PORT_APPEARED = "port.appeared"
    PORT_GONE = "port.gone"
    PORT_RENAMED = "port.renamed"
    GUARD_ATTACHED = "guard.attached"
    GUARD_FAILED = "guard.failed"
    INCIDENT_OPENED = "incident.opened"
    INCIDENT_UPDATED = "incident.updated"
    INCIDENT_CLOSED = "incident.closed"
    QUARANTINE_SET = "quarantine.set"
    QUARANTINE_RELEASED = "quarantine.released"
    QUARANTINE_REFUSED = "quarantine.refused"
    ORDER_REFUSED = "order.refused"
    DAEMON_STARTED = "daemon.started"
    DAEMON_STOPPED = "daemon.stopped"
    JOURNAL_DAMAGED = "journal.damaged"
    JOURNAL_FULL = "journal.full"
    JOURNAL_RECOVERED = "journal.recovered"
    LOG_GAP = "log.gap"
    CONFIG_LOADED = "config.loaded"
    CONFIG_REFUSED = "config.refused"
    ORDER_DONE = "order.done"
    NOTICE_ISSUED = "notice.issued"
    NOTICE_TAKEN = "notice.taken"
    NOTICE_REFUSED = "notice.refused"
    NOTICE_MATCHED = "notice.matched"
    NOTICE_FORGOTTEN = "notice.forgotten"
