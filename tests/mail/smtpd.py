"""A real mail server for tests: STARTTLS, implicit TLS or neither, with a login.

smtpd.py DIRECTORY MODE
    MODE        starttls, tls or none
    DIRECTORY   cert.pem and key.pem of the server; `login` with "user:password" where it wants one;
                rules.json says what to do with a recipient: a number is an answer to RCPT, "drop" takes the message and
                closes the connection without an answer. Read anew for each recipient.
                Each message taken is a line of messages.jsonl: the envelope, whether TLS and login were used, the raw message,
                and what Python's own mail parser reads in it.

Prints the port once it listens, and runs until standard input ends.
"""

import asyncio
import email
import email.policy
import json
import logging
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

# The library warns of itself on standard error.
logging.getLogger("mail.log").setLevel(logging.CRITICAL)
directory, mode = pathlib.Path(sys.argv[1]), sys.argv[2]


def rule(address):
    path = directory / "rules.json"
    rules = json.loads(path.read_text()) if path.exists() else {}
    return rules.get(address)


def read(content):
    message = email.message_from_bytes(content, policy=email.policy.default)
    body = message.get_body(("plain",))
    return {
        "subject": message["Subject"],
        "message_id": message["Message-ID"],
        "reply_to": message["Reply-To"],
        "header_to": message["To"],
        "auto_submitted": message["Auto-Submitted"],
        "headers": message.keys(),
        "text": body.get_content(),
        "files": {part.get_filename(): part.get_content() for part in message.iter_attachments()},
    }


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        said = rule(address)
        if isinstance(said, int):
            return f"{said} <{address}> is not taken today"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        line = {
            "to": envelope.rcpt_tos,
            "from": envelope.mail_from,
            "tls": session.ssl is not None or mode == "tls",
            "login": bool(session.authenticated),
            "raw": envelope.original_content.decode("ascii"),
            **read(envelope.original_content),
        }
        with open(directory / "messages.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if any(rule(address) == "drop" for address in envelope.rcpt_tos):
            server.transport.abort()
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    user, _, password = (directory / "login").read_text().strip().partition(":")
    good = data.login == user.encode() and data.password == password.encode()
    return AuthResult(success=good, handled=False)


async def main():
    context = None
    if mode != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    login = (directory / "login").exists()

    def protocol():
        return SMTP(
            Handler(),
            hostname="mail.test",
            tls_context=context if mode == "starttls" else None,
            require_starttls=mode == "starttls",
            authenticator=authenticate if login else None,
            auth_required=login,
            auth_require_tls=mode == "starttls",
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        protocol, "127.0.0.1", 0, ssl=context if mode == "tls" else None
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
