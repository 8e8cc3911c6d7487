"""What can be tried: a prompt, examples in the prompt, and fine-tunes."""
