"""Run noded as a script: `python -I -S main.py proa-noded <node name> <directory> <fd>` (see outer.py, process.py)."""

import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.abspath(__file__).rsplit("/proa/node/noded/", 1)[0])
    if len(sys.argv) > 5:
        from proa.node.noded.process import main
    else:
        from proa.node.noded.outer import main

    main(sys.argv)
