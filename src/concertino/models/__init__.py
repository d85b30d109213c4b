"""Base models: a catalogue of what exists, a content-addressed store of what is here, and pulling between them.

catalogue.yaml -> catalogue.py   which models, their exact bytes, where to get them
sources/                         one file a kind of source
pull.py                          sources in turn -> verified blobs
store.py                         blobs, manifests, leases
convert.py                       encoders in safetensors -> GGUF
"""

from concertino.models.catalogue import Catalogue, Entry, load_catalogue
from concertino.models.convert import gguf_path
from concertino.models.store import Manifest, Store

__all__ = ["Catalogue", "Entry", "Manifest", "Store", "gguf_path", "load_catalogue"]
