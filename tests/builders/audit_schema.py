"""The schema of audit messages (PS3.15 A.5.1) as RELAX NG in XML, made from the standard's lists.

The standard prints it in the compact form, which lxml does not read.
"""

from __future__ import annotations

from lxml import etree

ACTIONS = ["C", "R", "U", "D", "E"]
OUTCOMES = ["0", "4", "8", "12"]
ROLES = [str(number) for number in range(1, 27)]
LIFE_CYCLES = [str(number) for number in range(1, 16)]


def optional(inner):
    return f"<optional>{inner}</optional>"


def many(inner):
    return f"<zeroOrMore>{inner}</zeroOrMore>"


def attribute(name, kind="token", *, required=True):
    content = "<text/>" if kind == "text" else f'<data type="{kind}"/>'
    made = f'<attribute name="{name}">{content}</attribute>'
    return made if required else optional(made)


def one_of(name, values, *, required=True):
    listed = "".join(f"<value>{value}</value>" for value in values)
    made = f'<attribute name="{name}"><choice>{listed}</choice></attribute>'
    return made if required else optional(made)


def element(name, *content):
    return f'<element name="{name}">{"".join(content) or "<empty/>"}</element>'


CODE = "".join(
    [
        attribute("csd-code"),
        attribute("codeSystemName"),
        attribute("displayName", required=False),
        attribute("originalText"),
    ]
)
EVENT = element(
    "EventIdentification",
    element("EventID", CODE),
    many(element("EventTypeCode", CODE)),
    one_of("EventActionCode", ACTIONS, required=False),
    attribute("EventDateTime", "dateTime"),
    one_of("EventOutcomeIndicator", OUTCOMES),
    optional(element("EventOutcomeDescription", "<text/>")),
)
PARTICIPANT = element(
    "ActiveParticipant",
    many(element("RoleIDCode", CODE)),
    optional(element("MediaIdentifier", element("MediaType", CODE))),
    attribute("UserID", "text"),
    attribute("AlternativeUserID", "text", required=False),
    attribute("UserName", "text", required=False),
    attribute("UserIsRequestor", "boolean"),
    attribute("NetworkAccessPointID", required=False),
    one_of("NetworkAccessPointTypeCode", "12345", required=False),
)
SOURCE = element(
    "AuditSourceIdentification",
    attribute("AuditEnterpriseSiteID", required=False),
    attribute("AuditSourceID"),
    many(
        element(
            "AuditSourceTypeCode",
            attribute("csd-code"),
            optional(
                "<group>"
                + attribute("codeSystemName")
                + attribute("displayName", required=False)
                + attribute("originalText")
                + "</group>"
            ),
        )
    ),
)
OBJECT = element(
    "ParticipantObjectIdentification",
    element("ParticipantObjectIDTypeCode", CODE),
    "<choice>",
    element("ParticipantObjectName", '<data type="token"/>'),
    element("ParticipantObjectQuery", '<data type="base64Binary"/>'),
    "</choice>",
    many(element("ParticipantObjectDetail", attribute("type"), attribute("value", "base64Binary"))),
    attribute("ParticipantObjectID"),
    one_of("ParticipantObjectTypeCode", "1234", required=False),
    one_of("ParticipantObjectTypeCodeRole", ROLES, required=False),
    one_of("ParticipantObjectDataLifeCycle", LIFE_CYCLES, required=False),
    attribute("ParticipantObjectSensitivity", required=False),
)
"""Without ParticipantObjectDescription, which holds UIDs: no message of ours may have one."""


def audit_schema():
    """The schema, ready to validate."""
    message = element(
        "AuditMessage",
        EVENT,
        f"<oneOrMore>{PARTICIPANT}</oneOrMore>",
        SOURCE,
        many(OBJECT),
    )
    grammar = (
        '<grammar xmlns="http://relaxng.org/ns/structure/1.0"'
        ' datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes">'
        f"<start>{message}</start></grammar>"
    )
    return etree.RelaxNG(etree.fromstring(grammar))
