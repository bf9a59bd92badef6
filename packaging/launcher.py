#!/usr/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
# -I and -S: nothing but the standard library and what stands in one folder of ours, so
# that no package, variable or folder of the host's or the caller's changes what runs.
"""/usr/bin/tapsentinel."""

import sys

sys.path.append("/usr/lib/tapsentinel")

from sentinel.cli import main

sys.exit(main())
