"""Say what went wrong with an image: whose fault it is is in the class, what to do next in the message."""

from __future__ import annotations


class ImageError(Exception):
    """An image cannot be had, kept or read."""


class InvalidReference(ImageError):
    """What was asked for is no image's name."""


class ImageNotFound(ImageError):
    """There is no such image, blob or layer."""


class InvalidImage(ImageError):
    """The image is not what it says: a wrong digest or size, a manifest that makes no sense."""


class UnsafeArchive(InvalidImage):
    """An archive asks for what no image may do to this machine."""


class TooLarge(InvalidImage):
    """Something is larger than it says, or than anything of its kind may be."""


class RegistryError(ImageError):
    """A registry answered, but not with what was asked for."""


class Unauthorized(RegistryError):
    """The registry wants to know who asks, or does not allow it."""


class RegistryUnavailable(RegistryError):
    """The registry cannot be reached, or is not able to answer."""


class Cancelled(ImageError):
    """It was called off."""
