"""`python -m contracts freeze`: write the JSON Schemas down after an intended change."""

import sys

from contracts.schemas import freeze

if __name__ == "__main__":
    if sys.argv[1:] != ["freeze"]:
        sys.exit("usage: python -m contracts freeze")
    sys.stdout.write("\n".join(freeze() or ["nothing changed"]) + "\n")
