import pytest

from mock_open_e.server.xml_format import format_xml


def test_xml_is_indented_and_keeps_its_declaration_and_texts():
    text = "<?xml version='1.0' encoding='ISO-8859-1'?><a><b>å &lt; ö&#13;\n two</b><c> </c><d/></a>"
    assert format_xml(text) == (
        "<?xml version='1.0' encoding='ISO-8859-1'?>\n<a>\n  <b>å &lt; ö&#13;\n two</b>\n  <c> </c>\n  <d/>\n</a>"
    )


def test_long_values_are_shortened():
    formatted = format_xml(f"<a><file>{'A' * 4000}</file><message>{'m' * 2000}</message></a>")
    assert f"<file>{'A' * 80}… (4,000 characters)</file>" in formatted
    assert f"<message>{'m' * 2000}</message>" in formatted


@pytest.mark.parametrize(
    "text", ["", "Hello", "<a>", "<a/><b/>", "<a>\x00</a>", "<a>&no;</a>", "<a>" * 400 + "</a>" * 400]
)
def test_other_texts_are_not_formatted(text):
    assert format_xml(text) is None


def test_truncated_xml_is_formatted_as_far_as_it_is_known():
    formatted = format_xml(f"<a><b>x</b><file>{'A' * 4000}", is_cut=True)
    assert formatted == f"<a>\n  <b>x</b>\n  <file>{'A' * 80}… (4,000 characters)</file>\n</a>"
    assert format_xml("--boundary", is_cut=True) is None


def test_entities_are_not_expanded():
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "lol"}">' for n in range(9))
    formatted = format_xml(f"<!DOCTYPE a [{entities}]><a><b>&e8;</b></a>")
    assert formatted is None or "lollol" not in formatted
    assert "root:" not in (format_xml('<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>') or "")
