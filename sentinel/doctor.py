# SPDX-License-Identifier: Apache-2.0
"""`tapsentinel doctor`: looks at this host, judges, and says it in plain words."""

from __future__ import annotations

import json
from dataclasses import asdict

from sentinel.cli_text import Style
from sentinel.config import default_config, parse_config
from sentinel.doctor_facts import gather
from sentinel.doctor_rules import judge
from sentinel.doctor_types import Finding
from sentinel.errors import ConfigError
from sentinel.terminal import harmless

_WORDS = {"ok": ("green", "ok  "), "warn": ("yellow", "warn"), "fail": ("red", "FAIL")}


def examine(text: str, file: str) -> list[Finding]:
    """Findings on this host under the configuration in a text; `file` is its name.

    A configuration that is wrong is a finding; the host is then looked at with
    the defaults.
    """
    findings = []
    try:
        config = parse_config(text, file)
    except ConfigError as error:
        findings.append(
            Finding("fail", "configuration", str(error), "the daemon does not start until then")
        )
        config = default_config()
    return findings + judge(gather(config), config)


def finding_lines(findings: list[Finding], style: Style) -> list[str]:
    """One line for each finding, and one that sums up."""
    width = max((len(finding.title) for finding in findings), default=0)
    lines = []
    for finding in findings:
        colour, word = _WORDS[finding.level]
        remedy = f" -> {harmless(finding.remedy)}" if finding.remedy else ""
        lines.append(
            f"{style.paint(colour, word)}  {harmless(finding.title):<{width}}  "
            f"{harmless(finding.detail)}{remedy}"
        )
    failures = sum(1 for finding in findings if finding.level == "fail")
    warnings = sum(1 for finding in findings if finding.level == "warn")
    if failures:
        lines.append(style.paint("red", f"the guard cannot work here: {failures} to be mended"))
    elif warnings:
        lines.append(f"the guard can work here; {warnings} to know about")
    else:
        lines.append(style.paint("green", "nothing here would keep the guard from working"))
    return lines


def findings_json(findings: list[Finding]) -> bytes:
    """The findings as a JSON list of {level, title, detail, remedy}."""
    return json.dumps([asdict(finding) for finding in findings]).encode()
