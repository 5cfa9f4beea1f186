"""Reference models, one system a file, one room for each section of the documentation."""
