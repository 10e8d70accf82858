"""A conversation in a terminal: who answers, what is typed, what is shown."""
