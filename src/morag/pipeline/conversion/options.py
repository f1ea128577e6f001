"""The options callers may set, per content type, and their check; light, so that a submit can be refused at once."""

from dataclasses import dataclass
from types import MappingProxyType

from morag.domain.content import ContentType
from morag.domain.errors import ConversionError
from morag.domain.json import Json, JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One thing a caller may ask of a conversion."""

    name: str
    kind: type[bool] | type[int] | type[str]
    meaning: str
    choices: tuple[str, ...] = ()
    """The allowed words, if they are a closed set."""

    def accepts(self, value: Json) -> bool:
        """Whether `value` may be set."""
        if type(value) is not self.kind:
            return False
        return not self.choices or value in self.choices


_PASSWORD = Option(name="password", kind=str, meaning="opens an encrypted PDF, DOCX, PPTX or XLSX")
_OCR = Option(
    name="ocr",
    kind=str,
    meaning="which PDF pages are read as pictures: those without text (auto), all, or none",
    choices=("auto", "always", "never"),
)
_WHOLE_PAGE = Option(name="whole_page", kind=bool, meaning="keep navigation, footers and all, not the main text alone")
_LANGUAGE = Option(name="language", kind=str, meaning="the language spoken, as a code like en or de; heard if absent")

OPTIONS = MappingProxyType(
    {
        ContentType.DOCUMENT: (_PASSWORD, _OCR),
        ContentType.WEB: (_WHOLE_PAGE,),
        ContentType.IMAGE: (),
        ContentType.AUDIO: (_LANGUAGE,),
        ContentType.VIDEO: (_LANGUAGE,),
        ContentType.YOUTUBE: (_LANGUAGE,),
    }
)
"""What may be set for each content type."""


def validate_options(content_type: ContentType, options: JsonObject) -> None:
    """Check names and types. Raises ConversionError: `unknown_option`, `bad_option`."""
    known = {option.name: option for option in OPTIONS[content_type]}
    for name, value in options.items():
        if name not in known:
            raise ConversionError(
                f"There is no option '{name[:60]}' for {content_type.value}.", code="unknown_option", hint=_hint(known)
            )
        if not known[name].accepts(value):
            raise ConversionError(f"The option '{name}' cannot be that.", code="bad_option", hint=_hint(known))


def _hint(known: dict[str, Option]) -> str:
    if not known:
        return "This content type has no options."
    told = "; ".join(f"{name} ({_kind(option)}): {option.meaning}" for name, option in known.items())
    return f"It may be: {told}."


def _kind(option: Option) -> str:
    if option.choices:
        return " | ".join(option.choices)
    return {bool: "true or false", int: "number", str: "text"}[option.kind]
