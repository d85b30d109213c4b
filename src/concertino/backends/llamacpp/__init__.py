"""llama.cpp in supervised child processes."""

from concertino.backends.llamacpp.backend import LlamaCppBackend as LlamaCppBackend
