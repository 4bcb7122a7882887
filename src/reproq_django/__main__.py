"""``python -m reproq_django``: the worker binary, for environments whose scripts are not on ``PATH``."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from reproq_django.binary import BinaryError, find


def main() -> NoReturn:
    """Replace this process by the binary, with the same arguments."""
    try:
        path = str(find())
    except BinaryError as error:
        sys.exit(str(error))
    os.execv(path, [path, *sys.argv[1:]])  # noqa: S606 - this is what the module is for


if __name__ == "__main__":
    main()
