"""Living with a release: chat sessions, and the terminal they run in."""
