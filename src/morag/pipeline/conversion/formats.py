"""What can be converted: one row per format, read by detection, by the registry, by `morag doctor` and the README.

Light on purpose: converters are named here and imported only when they run.
"""

from dataclasses import dataclass

from morag.domain.content import ContentType

_HERE = "morag.pipeline.conversion.converters"
_DOCUMENT = f"{_HERE}.document"
_OOXML = "application/vnd.openxmlformats-officedocument"
_ODF = "application/vnd.oasis.opendocument"


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A kind of input and who converts it."""

    name: str
    media_types: tuple[str, ...]
    """The first is the one it is reported as; the others are names that senders use for it."""
    extensions: tuple[str, ...]
    content_type: ContentType
    converter: str
    """`module:Class`, loaded when the first input of the format is converted."""
    needs: tuple[str, ...] = ()
    """Import names that must be there beside what a plain install brings."""
    extra: str | None = None
    """The extra that brings them."""

    @property
    def media_type(self) -> str:
        """The media type it is reported as."""
        return self.media_types[0]


def _document(name: str, converter: str, media_types: str, extensions: str) -> Format:
    return Format(
        name=name,
        media_types=tuple(media_types.split()),
        extensions=tuple(extensions.split()),
        content_type=ContentType.DOCUMENT,
        converter=f"{_DOCUMENT}.{converter}",
    )


def _image(name: str, media_types: str, extensions: str) -> Format:
    return Format(
        name=name,
        media_types=tuple(media_types.split()),
        extensions=tuple(extensions.split()),
        content_type=ContentType.IMAGE,
        converter=f"{_HERE}.image:ImageConverter",
        needs=("rapidocr", "PIL"),
        extra="ocr",
    )


def _audio(name: str, media_types: str, extensions: str) -> Format:
    return Format(
        name=name,
        media_types=tuple(media_types.split()),
        extensions=tuple(extensions.split()),
        content_type=ContentType.AUDIO,
        converter=f"{_HERE}.audio:AudioConverter",
        needs=("av", "faster_whisper"),
        extra="audio",
    )


def _video(name: str, media_types: str, extensions: str) -> Format:
    return Format(
        name=name,
        media_types=tuple(media_types.split()),
        extensions=tuple(extensions.split()),
        content_type=ContentType.VIDEO,
        converter=f"{_HERE}.video:VideoConverter",
        needs=("av", "faster_whisper", "rapidocr"),
        extra="video",
    )


FORMATS: tuple[Format, ...] = (
    _document("PDF", "pdf.converter:PdfConverter", "application/pdf application/x-pdf", "pdf"),
    _document("Word", "word:WordConverter", f"{_OOXML}.wordprocessingml.document", "docx docm dotx"),
    _document("PowerPoint", "slides:SlidesConverter", f"{_OOXML}.presentationml.presentation", "pptx pptm ppsx"),
    _document("Excel", "sheets:SheetsConverter", f"{_OOXML}.spreadsheetml.sheet", "xlsx xlsm xltx"),
    _document("Word 97-2003", "word97:Word97Converter", "application/msword", "doc dot"),
    _document("PowerPoint 97-2003", "generic:GenericConverter", "application/vnd.ms-powerpoint", "ppt pps"),
    _document("Excel 97-2003", "generic:GenericConverter", "application/vnd.ms-excel", "xls xlt"),
    _document("OpenDocument text", "odf:OpenDocumentConverter", f"{_ODF}.text", "odt ott"),
    _document("OpenDocument sheet", "odf:OpenDocumentConverter", f"{_ODF}.spreadsheet", "ods ots"),
    _document("OpenDocument slides", "odf:OpenDocumentConverter", f"{_ODF}.presentation", "odp otp"),
    _document("RTF", "generic:GenericConverter", "application/rtf text/rtf", "rtf"),
    _document("EPUB", "generic:GenericConverter", "application/epub+zip", "epub"),
    _document("E-mail", "mail:MailConverter", "message/rfc822", "eml"),
    _document("Outlook message", "generic:GenericConverter", "application/vnd.ms-outlook", "msg"),
    _document("Markdown", "text:MarkdownConverter", "text/markdown text/x-markdown", "md markdown mdown mkd"),
    _document("Plain text", "text:TextConverter", "text/plain", "txt text log"),
    _document("CSV", "rows:RowsConverter", "text/csv application/csv", "csv"),
    _document("TSV", "rows:RowsConverter", "text/tab-separated-values", "tsv tab"),
    _document("JSON", "text:JsonConverter", "application/json text/json", "json"),
    _document("JSON Lines", "text:JsonConverter", "application/x-ndjson application/jsonl", "jsonl ndjson"),
    _document("XML", "text:XmlConverter", "application/xml text/xml", "xml"),
    _document("Jupyter notebook", "notebook:NotebookConverter", "application/x-ipynb+json", "ipynb"),
    _document("SubRip subtitles", "subtitles:SubtitlesConverter", "application/x-subrip text/srt", "srt"),
    _document("WebVTT subtitles", "subtitles:SubtitlesConverter", "text/vtt", "vtt"),
    _document("ZIP archive", "archive:ArchiveConverter", "application/zip application/x-zip-compressed", "zip"),
    _document("reStructuredText", "generic:GenericConverter", "text/x-rst", "rst"),
    _document("Org", "generic:GenericConverter", "text/x-org", "org"),
    _document("LaTeX", "generic:GenericConverter", "application/x-latex text/x-tex application/x-tex", "tex latex"),
    Format(
        name="Web page",
        media_types=("text/html", "application/xhtml+xml"),
        extensions=("html", "htm", "xhtml"),
        content_type=ContentType.WEB,
        converter=f"{_HERE}.web:WebConverter",
    ),
    _image("PNG", "image/png", "png"),
    _image("JPEG", "image/jpeg image/jpg", "jpg jpeg"),
    _image("TIFF", "image/tiff", "tif tiff"),
    _image("WebP", "image/webp", "webp"),
    _image("BMP", "image/bmp image/x-ms-bmp", "bmp"),
    _image("GIF", "image/gif", "gif"),
    _audio("MP3", "audio/mpeg audio/mp3", "mp3"),
    _audio("WAV", "audio/wav audio/x-wav audio/wave audio/vnd.wave", "wav"),
    _audio("M4A", "audio/mp4 audio/x-m4a audio/m4a", "m4a m4b"),
    _audio("AAC", "audio/aac", "aac"),
    _audio("FLAC", "audio/flac audio/x-flac", "flac"),
    _audio("Ogg, Opus", "audio/ogg audio/opus application/ogg", "ogg oga opus"),
    _audio("WebM audio", "audio/webm", "weba"),
    _video("MP4", "video/mp4 video/x-m4v", "mp4 m4v"),
    _video("QuickTime", "video/quicktime", "mov qt"),
    _video("Matroska", "video/x-matroska", "mkv"),
    _video("WebM", "video/webm", "webm"),
    _video("AVI", "video/x-msvideo video/avi", "avi"),
    Format(
        name="YouTube",
        media_types=("video/x-youtube",),
        extensions=(),
        content_type=ContentType.YOUTUBE,
        converter=f"{_HERE}.youtube:YoutubeConverter",
        needs=("youtube_transcript_api", "yt_dlp"),
        extra="youtube",
    ),
)

BY_MEDIA_TYPE = {media_type: entry for entry in FORMATS for media_type in entry.media_types}
BY_EXTENSION = {extension: entry for entry in FORMATS for extension in entry.extensions}
