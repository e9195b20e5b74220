"""Where artifacts are: a folder of this machine or an object store."""
