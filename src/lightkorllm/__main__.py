"""`python -m lightkorllm` is `lightkorllm`."""

from __future__ import annotations

import sys

from lightkorllm.cli import main

sys.exit(main())
