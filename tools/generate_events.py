# SPDX-License-Identifier: Apache-2.0
"""Writes docs/events from the types of the events: JSON Schemas, and an AsyncAPI 3 document.

`make events` writes, `--check` says whether they are as they would be written.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec
import orjson

from sentinel import __version__, event_bodies, signed
from sentinel.cloud_event import CONTENT_TYPE, SPEC_VERSION, TYPE_PREFIX, schema_of
from sentinel.event import VERSION
from sentinel.event_gate import STANDS_FOR
from sentinel.fleet.notice import NoticePayload
from sentinel.mqtt import documents, topics
from sentinel.orders.order import OrderPayload
from sentinel.vm import VmIdentity

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "events"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
DEFINITIONS = "#/$defs/{name}"
RETAINED = ("status", "ports", "notices")
SIGNED: dict[str, tuple[type, bytes, str]] = {
    "order": (OrderPayload, signed.ORDER_DOMAIN, "an order, signed"),
    "notice": (NoticePayload, signed.NOTICE_DOMAIN, "a notice, signed"),
}
Schema = dict[str, Any]

ENVELOPE_TEXTS = {
    "specversion": "CloudEvents 1.0",
    "id": "unique for ever: the journal's opening and the number; a duplicate has the same",
    "source": "the host's log",
    "type": "the kind",
    "subject": "the port; not there if the event is the host's",
    "time": "RFC 3339, UTC, nanoseconds",
    "sequence": "the number in 20 digits: sorts as text, per source",
}


def component(kind: type) -> tuple[Schema, Schema]:
    """A reference to a type's schema, and the definitions that it needs."""
    (found,), definitions = msgspec.json.schema_components([kind], ref_template=DEFINITIONS)
    return found, definitions


def event_schema(kind: str) -> Schema:
    """The schema of the envelope of one kind."""
    references: list[Schema] = []
    definitions: Schema = {}
    for body in (*event_bodies.BODIES[kind], event_bodies.Unreadable):
        reference, more = component(body)
        references.append(reference)
        definitions |= more
    vm, more = component(VmIdentity)
    definitions |= more
    whole = {"type": "integer", "minimum": 0}
    data = {
        "version": {"const": VERSION},
        "seq": whole,
        "host": {"type": "string"},
        "time_ns": {"type": "integer", "description": "since the epoch"},
        "port": {"type": ["string", "null"]},
        "ifindex": {"type": ["integer", "null"]},
        "vm": {"anyOf": [vm, {"type": "null"}]},
        "body": {
            "anyOf": references,
            "properties": {STANDS_FOR: {**whole, "description": "events that were over the rate"}},
        },
    }
    text = {"type": "string", "minLength": 1}
    members: dict[str, Schema] = {
        "specversion": {"const": SPEC_VERSION},
        "id": {"type": "string", "pattern": "^[0-9a-f]{16}-[0-9]+$"},
        "source": {"type": "string", "format": "uri-reference", "minLength": 1},
        "type": {"const": TYPE_PREFIX + kind},
        "subject": text,
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"const": "application/json"},
        "dataschema": {"const": schema_of(kind, VERSION)},
        "sequence": {"type": "string", "pattern": "^[0-9]{20}$"},
        "data": {"type": "object", "properties": data, "required": sorted(data)},
    }
    for name, words in ENVELOPE_TEXTS.items():
        members[name] = {**members[name], "description": words}
    return {
        "$schema": DIALECT,
        "$id": schema_of(kind, VERSION),
        "title": TYPE_PREFIX + kind,
        "type": "object",
        "properties": members,
        "required": sorted(members.keys() - {"subject"}),
        "$defs": definitions,
    }


def document_schema(name: str, kind: type) -> Schema:
    """The schema of a document that is retained or told at an interval."""
    reference, definitions = component(kind)
    return {"$schema": DIALECT, "title": name, **reference, "$defs": definitions}


def signed_schema(name: str, payload: type) -> Schema:
    """The schema of a signed message: its payload is a text that is JSON."""
    reference, definitions = component(payload)
    longest = signed.MAX_NAME_CHARACTERS
    members: dict[str, Schema] = {
        "by": {
            "type": "string", "minLength": 1, "maxLength": longest, "description": "who signed it"
        },
        "payload": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": reference,
        },
        "signature": {
            "type": "string",
            "contentEncoding": "base64",
            "description": "Ed25519 (RFC 8032) over DOMAIN and the payload's bytes; DOMAIN is the "
            f"line `{SIGNED[name][1].decode().strip()}` with its newline",
        },
    }  # fmt: skip
    return {
        "$schema": DIALECT,
        "title": name,
        "description": f"at most {signed.MAX_MESSAGE_BYTES} bytes",
        "type": "object",
        "properties": members,
        "required": sorted(members),
        "additionalProperties": False,
        "$defs": definitions,
    }


def asyncapi() -> Schema:
    """The AsyncAPI document: which topic carries what."""
    channels: Schema = {}
    operations: Schema = {}
    messages: Schema = {}
    host = {"host": {"description": "the host, percent-encoded where MQTT forbids a character"}}
    port = {"port": {"description": "the device's name, encoded likewise"}}

    def add(
        name: str,
        address: str,
        text: str,
        parameters: Schema,
        names: list[str],
        actions: tuple[str, ...] = ("send",),
    ) -> None:
        refs = {each: {"$ref": f"#/components/messages/{each}"} for each in names}
        channels[name] = {
            "address": address,
            "description": text,
            "parameters": parameters,
            "messages": refs,
        }
        for action in actions:
            operations[f"{action}_{name}"] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{name}"},
                "bindings": {"mqtt": {"qos": 1, "retain": name in RETAINED}},
            }

    for kind in event_bodies.BODIES:
        name = kind.replace(".", "_")
        messages[kind] = {
            "title": TYPE_PREFIX + kind,
            "contentType": CONTENT_TYPE,
            "payload": {"$ref": f"./{kind}.json"},
        }
        add(f"event_{name}", topics.event("{host}", kind), f"events `{kind}`", host, [kind])
    for name, (_, text) in documents.DOCUMENTS.items():
        messages[name] = {
            "title": text,
            "contentType": "application/json",
            "payload": {"$ref": f"./{name}.json"},
        }
    add("status", topics.status("{host}"), "birth and will, retained", host, ["status"])
    add(
        "ports",
        topics.port("{host}", "{port}"),
        "a port's state, retained; empty when the port has gone",
        {**host, **port},
        ["port"],
    )
    add("metrics", topics.metrics("{host}"), "a summary at an interval", host, ["metrics"])
    for name, (_, _, text) in SIGNED.items():
        messages[name] = {
            "title": text,
            "contentType": "application/json",
            "payload": {"$ref": f"./{name}.signed.json"},
        }
    whose = {**host, "principal": {"description": "who signs the order, encoded likewise"}}
    add(
        "orders",
        topics.order("{host}", "{principal}"),
        "orders, where mqtt.orders is enabled: MQTT 5, not retained, with a response topic below "
        "the channel of answers, and correlation data",
        whose,
        ["order"],
        ("receive",),
    )
    own = {"own": {"description": "whatever the sender of the order chose"}}
    add(
        "answers",
        f"{topics.answers('{host}')}/{{principal}}/{{own}}",
        "the answer to an order, with its correlation data",
        {**whose, **own},
        ["answer"],
    )
    operations["receive_orders"]["reply"] = {"channel": {"$ref": "#/channels/answers"}}
    add(
        "notices",
        topics.notice("{host}", "{id}"),
        "what a host learnt of a guest, retained until it expires; empty when it is over",
        {**host, "id": {"description": "the notice's own"}},
        ["notice"],
        ("send", "receive"),
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "tapsentinel",
            "version": __version__,
            "description": "What hypervisors tell through an MQTT broker. The topics' first "
            "word, `tapsentinel`, is `mqtt.root` of the configuration.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }


def render() -> dict[str, bytes]:
    """Every file by its name."""
    schemas = {kind: event_schema(kind) for kind in event_bodies.BODIES}
    schemas |= {
        name: document_schema(name, kind) for name, (kind, _) in documents.DOCUMENTS.items()
    }
    schemas |= {f"{name}.signed": signed_schema(name, SIGNED[name][0]) for name in SIGNED}
    files = {f"{name}.json": schema for name, schema in schemas.items()}
    files["asyncapi.json"] = asyncapi()
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return {name: orjson.dumps(content, option=options) for name, content in files.items()}


def drift(files: dict[str, bytes]) -> list[str]:
    """Names of files that are missing, superfluous or not as they would be written."""
    there = {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}
    names = there.keys() | files.keys()
    return sorted(name for name in names if there.get(name) != files.get(name))


def main() -> int:
    """Writes the files, or with --check says which differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check: bool = parser.parse_args().check
    files = render()
    wrong = drift(files)
    if check and wrong:
        print(f"docs/events differs ({', '.join(wrong)}): run `make events`", file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    for name in wrong:
        if name in files:
            (FOLDER / name).write_bytes(files[name])
        else:
            (FOLDER / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
