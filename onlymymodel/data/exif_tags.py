"""The EXIF entries that a written photo may keep, and the limits on their values.

Kept is what is known to be harmless by its meaning: who took the photo, when, where, with which camera and settings.
Pictures have been found in almost every other entry (maker notes, comments, printer data, further directories), in many
encodings, so an entry that is not listed here is dropped, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Mapping

from PIL.ExifTags import GPS, GPSTAGS, IFD, TAGS, Base, Interop

MAX_TEXT = 500  # bytes
_MAX_PADDED = 4096  # bytes, with the zeros that some cameras write behind a text
MAX_WORD = 60  # characters; a picture in base64 or hexadecimal is longer
MAX_NUMBERS = 4  # lens specifications and subject areas have four numbers
_UNDEFINED_LENGTHS = (1, 4)  # of versions, components and sources; longer values may be anything

_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _SBYTE, _UNDEFINED, _SSHORT, _SLONG, _SRATIONAL = range(1, 11)
_FLOAT, _DOUBLE, _UTF8 = 11, 12, 129
SIZES = {
    _BYTE: 1, _ASCII: 1, _SHORT: 2, _LONG: 4, _RATIONAL: 8, _SBYTE: 1, _UNDEFINED: 1, _SSHORT: 2, _SLONG: 4,
    _SRATIONAL: 8, _FLOAT: 4, _DOUBLE: 8, _UTF8: 1,
}  # fmt: skip
INTEGERS = {_BYTE: "B", _SBYTE: "b", _SHORT: "H", _SSHORT: "h", _LONG: "I", _SLONG: "i"}
TEXTS = (_ASCII, _UTF8)

# directories, named by the tag that points to them; the first one is None
FIRST = None
_FIRST = {
    Base.DocumentName, Base.ImageDescription, Base.Make, Base.Model, Base.Orientation, Base.XResolution,
    Base.YResolution, Base.ResolutionUnit, Base.Software, Base.DateTime, Base.Artist, Base.HostComputer, Base.Copyright,
    Base.Rating, Base.RatingPercent,
}  # fmt: skip
_EXIF = {
    Base.ExposureTime, Base.FNumber, Base.ExposureProgram, Base.ISOSpeedRatings, Base.SensitivityType,
    Base.StandardOutputSensitivity, Base.RecommendedExposureIndex, Base.ISOSpeed, Base.ISOSpeedLatitudeyyy,
    Base.ISOSpeedLatitudezzz, Base.ExifVersion, Base.DateTimeOriginal, Base.DateTimeDigitized, Base.OffsetTime,
    Base.OffsetTimeOriginal, Base.OffsetTimeDigitized, Base.ShutterSpeedValue, Base.ApertureValue, Base.BrightnessValue,
    Base.ExposureBiasValue, Base.MaxApertureValue, Base.SubjectDistance, Base.MeteringMode, Base.LightSource,
    Base.Flash, Base.FocalLength, Base.SubsecTime, Base.SubsecTimeOriginal, Base.SubsecTimeDigitized,
    Base.AmbientTemperature, Base.Humidity, Base.Pressure, Base.WaterDepth, Base.Acceleration,
    Base.CameraElevationAngle, Base.FlashPixVersion, Base.ColorSpace, Base.FlashEnergy, Base.FocalPlaneXResolution,
    Base.FocalPlaneYResolution, Base.FocalPlaneResolutionUnit, Base.ExposureIndex, Base.SensingMethod, Base.FileSource,
    Base.SceneType, Base.CustomRendered, Base.ExposureMode, Base.WhiteBalance, Base.DigitalZoomRatio,
    Base.FocalLengthIn35mmFilm, Base.SceneCaptureType, Base.GainControl, Base.Contrast, Base.Saturation, Base.Sharpness,
    Base.SubjectDistanceRange, Base.ImageUniqueID, Base.CameraOwnerName, Base.BodySerialNumber, Base.LensSpecification,
    Base.LensMake, Base.LensModel, Base.LensSerialNumber, Base.CompositeImage, Base.Gamma,
}  # fmt: skip
_GPS = set(GPS) - {GPS.GPSProcessingMethod, GPS.GPSAreaInformation}  # those two are bytes in any encoding
_INTEROP = {Interop.InteropIndex, Interop.InteropVersion}  # tells Adobe RGB from sRGB
KEPT: Mapping[int | None, frozenset[int]] = {
    FIRST: frozenset(_FIRST), IFD.Exif: frozenset(_EXIF), IFD.GPSInfo: frozenset(_GPS),
    IFD.Interop: frozenset(_INTEROP),
}  # fmt: skip

# describe the pixels of the file that was read, not of the one that is written: dropped without a remark
_OF_THE_FILE = {
    Base.ImageWidth, Base.ImageLength, Base.BitsPerSample, Base.Compression, Base.PhotometricInterpretation,
    Base.SamplesPerPixel, Base.PlanarConfiguration, Base.YCbCrCoefficients, Base.YCbCrSubSampling,
    Base.YCbCrPositioning, Base.ReferenceBlackWhite, Base.ComponentsConfiguration, Base.CompressedBitsPerPixel,
    Base.ExifImageWidth, Base.ExifImageHeight, Base.RelatedImageWidth, Base.RelatedImageLength, 0xEA1C,
}  # fmt: skip


def is_harmless(kind: int, count: int, value: bytes | memoryview) -> bool:
    """Return whether a listed entry's value is of the length and kind that its meaning needs.

    Args:
        kind: EXIF type.
        count: number of values.
        value: their bytes.
    """
    if count < 1:
        return False
    if kind in TEXTS:
        return _is_short_text(value)
    if kind == _UNDEFINED:
        return count in _UNDEFINED_LENGTHS
    return kind in SIZES and count <= MAX_NUMBERS


def describes_the_file(tag: int) -> bool:
    """Return whether an entry describes only the encoding of the file that was read."""
    return tag in _OF_THE_FILE


def name_of(directory: int | None, tag: int) -> str | None:
    """Return the standard's name of an entry; None for an unknown one."""
    return (GPSTAGS if directory == IFD.GPSInfo else TAGS).get(tag)


def _is_short_text(value: bytes | memoryview) -> bool:
    """Return whether `value` is a short printable text of words."""
    stripped = bytes(value[:_MAX_PADDED]).rstrip(b"\0")
    if len(stripped) > MAX_TEXT or len(value) > _MAX_PADDED:
        return False
    try:
        text = stripped.decode("utf-8")
    except UnicodeDecodeError:
        text = stripped.decode("latin-1")
    words = text.replace("\0", " ").split()  # a copyright has two parts
    return all(len(word) <= MAX_WORD and word.isprintable() for word in words)
