"""python -m vmxd."""

import sys

from vmxd.cli import main

sys.exit(main())
