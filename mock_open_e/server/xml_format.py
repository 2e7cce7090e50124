"""Indent the XML of a call for reading."""

import re

from lxml import etree

_DECLARATION = re.compile(r"\s*(<\?xml\s[^>]{0,200}\?>)")
_LONG = 2_000
"""Characters from which a value is shortened: texts of messages fit, files do not."""

_SHOWN = 80


def format_xml(text: str, *, is_cut: bool = False) -> str | None:
    """Return a text as indented XML with its declaration and with long values shortened, or None if it is not XML.

    With `is_cut` the end of the text is missing; open elements are closed.
    """
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        remove_blank_text=True,
        recover=is_cut,
    )
    try:
        root = etree.fromstring(text.encode(), parser)
    except (etree.XMLSyntaxError, ValueError):
        return None
    if root is None:
        return None
    for element in root.iter(etree.Element):
        if element.text and len(element.text) > _LONG:
            element.text = f"{element.text[:_SHOWN]}… ({len(element.text):,} characters)"
    etree.indent(root)
    markup = etree.tostring(root.getroottree(), encoding="unicode")
    declaration = _DECLARATION.match(text)
    return f"{declaration[1]}\n{markup}" if declaration else markup
