"""The program of the storage initializer."""

from proa.ml.serving.storage.program import main

if __name__ == "__main__":
    raise SystemExit(main())
