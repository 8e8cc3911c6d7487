"""Who answers: the built-in model, local folders, Hugging Face ids and GGUF files."""
