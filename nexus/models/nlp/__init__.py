"""Language: tokenizers and what is done with language models (section 10)."""
