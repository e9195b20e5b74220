"""Run noded as a script: `python -I -S main.py proa-noded <node name> <directory>` (see process.py)."""

import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.abspath(__file__).rsplit("/proa/node/noded/", 1)[0])
    from proa.node.noded import process

    process.main(sys.argv)
