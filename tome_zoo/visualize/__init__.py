"""What merged with what, drawn: groups of tokens on images, through clips, over spectrograms; and a sound to hear."""

from tome_zoo.visualize.image import image_panels, render_image
from tome_zoo.visualize.paint import Fill, Painted, paint
from tome_zoo.visualize.sheet import Panel, sheet
from tome_zoo.visualize.subject import Subject, central_view, colours, log_mel, subject_of
from tome_zoo.visualize.token_groups import Groups, groups, groups_by_block

__all__ = [
    "Fill",
    "Groups",
    "Painted",
    "Panel",
    "Subject",
    "central_view",
    "colours",
    "groups",
    "groups_by_block",
    "image_panels",
    "log_mel",
    "paint",
    "render_image",
    "sheet",
    "subject_of",
]
