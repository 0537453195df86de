"""`python -m gatewayz` is `gatewayz`."""

import sys

from gatewayz.cli import main

sys.exit(main())
