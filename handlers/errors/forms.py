"""The forms of errors in the contracts of the service."""

from dataclasses import replace

from handlers.errors import error_list_texts, error_lists, municipal_problems, problem_texts
from openapi.errors import forms
from openapi.errors.forms import ErrorForm

PROBLEMS = replace(forms.PROBLEMS, describe=problem_texts.build_violation)
"""problem+json in English, with the texts that were published for web messages."""

ERROR_LISTS = ErrorForm(
    error_list_texts.build_violation,
    error_list_texts.list_parse_violations,
    error_lists.render_error,
    error_lists.render_internal_error,
)
"""The lists of numbered errors in Danish that the owner of the subscriptions published."""

WEB_MESSAGE_SENDER_PROBLEMS = municipal_problems.build_form(
    {
        "createMunicipalWebMessage": "createWebMessage",
        "getMunicipalWebMessageById": "getWebMessageById",
        "deleteMunicipalWebMessageById": "deleteWebMessageById",
        "getMunicipalWebMessagesByPartyId": "getWebMessagesByPartyId",
        "getMunicipalWebMessagesByExternalReference": "getWebMessagesByExternalReference",
    },
    municipal_problems.DENIED_TO_CALLER,
)
"""problem+json with an integer status, and the published ids of operations: ours differ, since ids are unique."""

OEP_INTEGRATOR_PROBLEMS = municipal_problems.build_form(
    {
        "createCaseWebMessage": "createWebmessage",
        "getCaseWebMessages": "getWebmessagesByFlowInstanceId",
        "getFamilyWebMessages": "getWebmessagesByFamilyId",
        "getCaseWebMessageAttachment": "getAttachmentById",
    },
    {},
)
"""The same with the published ids of oep-integrator, which reports all faults of Open-E as errors of its own."""
