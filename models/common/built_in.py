"""A text that every Python brings along."""

from .errors import UserError


def built_in_text() -> str:
    """The language reference that Python's help() shows, about 465 000 characters; it differs between versions."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise UserError(
            "this Python comes without pydoc_data.topics, the text used by default; name a text with --data FILE"
        ) from error
    return "\n\n".join(topics[name].strip("\n") for name in sorted(topics)) + "\n"
