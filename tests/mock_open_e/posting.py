"""Call a running mock Open-E, at its root or under a name: post by SOAP, and read through the control API."""

from xml.sax.saxutils import escape

import requests

from tests.mock_open_e.soap import NS, UTF8, add_message, build_request

ADDED = "<added>2026-02-19T07:57:06.123+01:00</added>"


def post(url, text="Hej", case=1068, instance="external", auth=None, files="", user_id="joe01doe", operation=None):
    """Return the response to a message, sent with requests."""
    message = f"{ADDED}<message>{escape(text, {chr(13): '&#13;'})}</message>{files}"
    number = f"<flowInstanceID>{case}</flowInstanceID>"
    sender = f"<principal><userID>{user_id}</userID></principal>"
    body = add_message(number, message, sender)
    if operation is not None:
        body = build_request(f'<{operation} xmlns="{NS}">{number}<message>{message}</message>{sender}</{operation}>')
    url = f"{url}/{instance}/api/callback"
    return requests.post(url, body.encode(), headers={"Content-Type": UTF8}, auth=auth, timeout=5)


def list_texts(url):
    """Return the texts of the received messages from the control API."""
    return [message["message"] for message in requests.get(f"{url}/control/messages", timeout=5).json()]
