"""Texts in files, for the tests of the programs."""

from hypothesis import strategies as st

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")  # of all planes


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def files_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())
