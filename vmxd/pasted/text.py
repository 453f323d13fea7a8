"""Text as people paste it, stripped of what it was wrapped in: escapes, quotes of mails, colours, blanks.

Every pattern here and in the formats has bounded repeats and never two ways to match the same characters, so the work
is proportional to the text's length.
"""

from __future__ import annotations

import re
from typing import Final

from vmxd.errors import UsageError

TEXT_MAX: Final = 4 << 20
"""Characters that are looked at: a whole kernel log or VBox.log has its place."""

_ESCAPES: Final = {
    "n": "\n", "r": "\n", "t": " ", '"': '"', "'": "'", "/": "/",
    "u003e": ">", "u003c": "<", "u0026": "&", "u0027": "'", "u0022": '"', "x27": "'", "x22": '"',
}  # fmt: skip
_ENTITIES: Final = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'", "#39": "'", "#x27": "'", "nbsp": " "}
_ESCAPE: Final = re.compile(r"\\{1,8}(u00(?:3[ce]|2[267])|x2[27]|[nrt\"'/])")
_ENTITY: Final = re.compile(r"&(lt|gt|amp|quot|apos|nbsp|#39|#x27);")
_COLOUR: Final = re.compile(r"\x1b\[[0-9;?]{0,20}[A-Za-z]")
_SOFT_BREAK: Final = re.compile(r"(?<=[^\n]{60})=\n")
_BLANKS: Final = re.compile(r"[ \t\f\v\u00a0]{1,200}")
_LINE_START: Final = re.compile(r"^ ?(?:[>|] ?){0,8}(?=[^\n]|$)", re.MULTILINE)


def prepare(text: str) -> str:
    """Return a text without what it is wrapped in: one blank where there were several, none around a line.

    Raises UsageError for a text of more than TEXT_MAX characters.
    """
    if len(text) > TEXT_MAX:
        raise UsageError(
            f"the text has more than {TEXT_MAX >> 20} MiB", "paste the part that is about VMX: grep -iE 'vmx|kvm|msr'"
        )
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _COLOUR.sub("", text)
    text = _SOFT_BREAK.sub("", text).replace("=3D", "=")  # quoted-printable, as mails are
    text = text.replace("\\\n", " ")
    text = _ESCAPE.sub(lambda match: _ESCAPES[match[1]], text)
    text = _ENTITY.sub(lambda match: _ENTITIES[match[1]], text)
    text = _BLANKS.sub(" ", text)
    text = _LINE_START.sub("", text)
    return text.replace(" \n", "\n")


def pattern(words: str, flags: int = 0) -> re.Pattern[str]:
    """Compile a pattern in which a blank also stands for the end of a line: mails and YAML break lines anywhere."""
    return re.compile(words.replace(" ", "[ \\n]"), flags | re.ASCII)
