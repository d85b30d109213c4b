"""The models of the catalogue that stand where nobody has named one."""

SENTENCE_ENCODER = "all-MiniLM-L6-v2"
"""What texts are compared by, what the router's encoder was tuned from, and what skills with labels are trained on."""
SMALL_LANGUAGE_MODEL = "smollm2-135m-instruct"
"""The smallest that writes: what skills with free answers are trained on."""
GENERALIST = "qwen2.5-coder-1.5b-instruct"
"""What a specialist is measured against."""
