"""Label skills on a small encoder: one base in memory, a LoRA adapter and a head a skill."""

from concertino.backends.encoder.backend import EncoderBackend as EncoderBackend
