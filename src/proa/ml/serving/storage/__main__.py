"""The program of the storage initializer."""

import os
import signal

from proa.ml.serving.storage.program import main

if __name__ == "__main__":
    # the first process of a container is not ended by a signal that it does not handle; a store survives any end
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    raise SystemExit(main())
