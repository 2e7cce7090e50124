"""The schema of the callback: as Open-E serves it, and as strict mode requires it.

Source: names, order, types and occurrences of the callback's published schema. The served schema comes from Open-E's
classes, so a choice appears there as two optional elements. Strict mode accepts what any published edition accepts: in
some, readReceiptEnabled precedes userID, in some it is missing; callers in production send neither.
"""

from collections.abc import Mapping
from types import MappingProxyType

from lxml import etree

from mock_open_e.behaviour.namespaces import CALLBACK_NAMESPACE
from mock_open_e.behaviour.operation_table import CASE, FAULTS, SHAPES, name_request_element

_TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ExternalID": ("ID xs:string", "System xs:string"),
        "IntegrationMessage": (
            "added xs:dateTime",
            "attachments* t:Attachment nillable",
            "message xs:string",
            "userID xs:string",
            "readReceiptEnabled xs:boolean",
        ),
        "Attachment": ("encodedData xs:base64Binary", "filename xs:string", "size xs:long"),
        "Principal": ("name? xs:string nillable", "userID xs:string nillable"),
        "OwnerPrincipal": ("name? xs:string nillable", "userID xs:string nillable", "citizenID xs:string nillable"),
        "PrincipalGroup": ("name xs:string nillable",),
    }
)

_STRICT_CASE = CASE[0].replace("?", ""), CASE[1].replace("?", "")
_STRICT_STATUS = ("statusID xs:int", "statusAlias xs:string")


def render_served_schema() -> str:
    """Return the schema at `?xsd=1`."""
    return _render_schema(is_strict=False)


def build_strict_schema() -> etree.XMLSchema:
    """Return the schema of strict mode. The data of files is empty there, because it is checked before."""
    return etree.XMLSchema(etree.fromstring(_render_schema(is_strict=True).encode()))


def _render_schema(*, is_strict: bool) -> str:
    parts = []
    for operation, shape in SHAPES.items():
        asking = name_request_element(operation)
        parts += [
            f'<xs:element name="{asking}" type="t:{asking}"/>',
            f'<xs:element name="{operation}Response" type="t:{operation}Response"/>',
            _render_type(
                asking,
                _render_strict_content(shape.request_fields) if is_strict else _render_elements(shape.request_fields),
            ),
            _render_type(f"{operation}Response", _render_elements(shape.response_fields)),
        ]
    for fault in FAULTS.values():
        parts += [f'<xs:element name="{fault}" type="t:{fault}"/>', _render_type(fault, "")]
    for name, content in _TYPES.items():
        is_message = is_strict and name == "IntegrationMessage"
        parts.append(_render_type(name, _render_strict_message(content) if is_message else _render_elements(content)))
    return (
        '<?xml version="1.0" encoding="UTF-8"?><xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" '
        f'xmlns:t="{CALLBACK_NAMESPACE}" targetNamespace="{CALLBACK_NAMESPACE}" '
        f'elementFormDefault="qualified" version="1.0">{"".join(parts)}</xs:schema>'
    )


def _render_type(name: str, content: str) -> str:
    return f'<xs:complexType name="{name}"><xs:sequence>{content}</xs:sequence></xs:complexType>'


def _render_elements(content: tuple[str, ...]) -> str:
    return "".join(map(_render_element, content))


def _render_element(line: str) -> str:
    name, kind, *nillable = line.split()
    attributes = ' minOccurs="0"' if name[-1] in "?*" else ""
    attributes += ' maxOccurs="unbounded"' if name[-1] == "*" else ""
    attributes += ' nillable="true"' if nillable else ""
    return f'<xs:element name="{name.rstrip("?*")}" type="{kind}"{attributes}/>'


def _render_choice(*contents: str) -> str:
    return f"<xs:choice>{''.join(contents)}</xs:choice>"


def _render_strict_content(request_fields: tuple[str, ...]) -> str:
    """Return the content of a request, with the choices that the classes have lost."""
    content = _render_elements(request_fields)
    for pair, chosen in ((CASE, _STRICT_CASE), (("statusID? xs:int", "statusAlias? xs:string"), _STRICT_STATUS)):
        content = content.replace(_render_elements(pair), _render_choice(*map(_render_element, chosen)))
    return content


def _render_strict_message(content: tuple[str, ...]) -> str:
    *first, user, receipt = content
    user_first = f"<xs:sequence>{_render_element(user)}{_render_element(receipt.replace(' ', '? ', 1))}</xs:sequence>"
    receipt_first = (
        f"<xs:sequence>{_render_element(receipt)}{_render_element(user.replace(' ', '? ', 1))}</xs:sequence>"
    )
    return _render_elements(tuple(first)) + _render_choice(user_first, receipt_first).replace(
        "<xs:choice>", '<xs:choice minOccurs="0">', 1
    )
