"""Commands that train, and how every command starts and ends."""

import os

# XLA prints pages of errors about processor features whenever it reads a compiled
# program from the cache, on some CPUs; they mean nothing. Read when JAX is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
