"""The corpus: *.txt beside this file, one case after another.

    id [section] exact verdicts / others that are safe
    | why
    > a line that the client sends, CR LF behind it; with a backslash at its end nothing stands behind it
    < the same of upstream's answer to this case, where the usual one is not meant
    = the body of a request that upstream may see (of an answer that the client may see, where upstream's is given);
      a line for each. Without: one message without a body
    no TEXT, has TEXT, as TEXT     what must not, must reach the other side; what must come back to the client (regular expressions)
    -- on a line of its own after > or <: a moment's pause. <fin, <rst: upstream ends the connection so.

In > and <: \\r \\n \\t \\0 \\\\ \\xNN; {70000*a} repeats; {body} is how many bytes stand behind the blank line that follows it, {body+1}
one more. @GET, @POST stand for a request line and Host, @EVIL for a whole request for /CASE.evil that is meant as the attack,
@OK for one that precedes it, @200 for a status line and a Date. CASE is replaced by four characters of the case's own.

Verdicts. Exact or safe, as the case says:
    rejected   an error, and the connection ended or was said to; nothing of the case is whole upstream
    refused    an error, and the connection goes on
    closed     the connection ended without a word (safe where "rejected" is)
    aborted    upstream, or the client, saw the beginning of a message and that it was cut (safe where "rejected" is)
    forwarded  the other side saw just what is meant, faultlessly, and so read by everyone
    answered   the proxy answered by itself, no error
    waits      more bytes are awaited (safe where a bad answer is to be "rejected": a timeout will)
Never safe:
    raw        what no peer may write was passed on
    split      readers disagree about where messages end
    smuggled   more messages than meant: a part of one became one of its own
    altered    a body that is not what was sent
    accepted   what may not be taken was, cleaned
    failed     a "no", "has" or "as" is not met
    poisoned   somebody else's request got a wrong answer
    hang       nobody is served afterwards
    crash      the proxy is gone
"""
import dataclasses
import pathlib
import re

SAFE = {"rejected", "refused", "closed", "aborted", "forwarded", "answered", "waits"}
UNSAFE = {"raw", "split", "smuggled", "altered", "accepted", "failed", "poisoned", "hang", "crash"}
FILES = ["lengths", "chunks", "syntax", "target_host", "connection", "responses"]
HEAD = re.compile(r"([a-z0-9-]+) \[([^]]+)\] ([a-z ]+?)(?: / ([a-z ]+))?")
SHORT = {
    "@GET": "GET /CASE HTTP/1.1\\r\\nHost: corpus.test",
    "@POST": "POST /CASE HTTP/1.1\\r\\nHost: corpus.test",
    "@EVIL": "GET /CASE.evil HTTP/1.1\\r\\nHost: corpus.test\\r\\n",
    "@OK": "GET /CASE.ok HTTP/1.1\\r\\nHost: corpus.test\\r\\n",
    "@200": "HTTP/1.1 200 OK\\r\\nDate: Sat, 01 Jan 2000 00:00:00 GMT",
}
PAUSE, FIN, RST = "pause", "fin", "rst"


@dataclasses.dataclass
class Case:
    id: str
    category: str
    section: str
    exact: set
    safe: set
    code: str = ""
    why: str = ""
    sends: list = dataclasses.field(default_factory=list)    # bytes and PAUSE
    answers: list = dataclasses.field(default_factory=list)  # bytes, PAUSE, FIN and RST
    bodies: list = dataclasses.field(default_factory=list)
    checks: list = dataclasses.field(default_factory=list)   # (no, has or as; regular expression)

    def is_safe(self, verdict):
        return verdict in self.safe

    @property
    def raw(self):
        return b"".join(x for x in self.sends if x != PAUSE)


def unescape(text):
    def one(m):
        what = m[1]
        return chr(int(what[1:], 16)) if what[0] == "x" else {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}[what]
    text = re.sub(r"\{(\d+)\*([^}]*)\}", lambda m: m[2] * int(m[1]), text)
    return re.sub(r"\\(x[0-9a-fA-F]{2}|[rnt0\\])", one, text)


def line_of(text):
    text = SHORT.get(text, text)
    if text.endswith("\\") and not text.endswith("\\\\"):
        return unescape(text[:-1])
    return unescape(text) + "\r\n"


def with_lengths(text):
    """Fills in {body}, the last first."""
    while (at := text.rfind("{body")) >= 0:
        m = re.compile(r"\{body([+-]\d+)?\}").match(text, at)
        n = len(text) - text.index("\r\n\r\n", at) - 4 + int(m[1] or 0)
        text = text[:at] + str(n) + text[m.end():]
    return text


def joined(parts, code):
    """Lines to pieces of bytes, split at what is not bytes."""
    text = with_lengths("".join(p if p not in (PAUSE, FIN, RST) else f"\uffff{p}\uffff" for p in parts).replace("CASE", code))
    out = []
    for piece in text.split("\uffff"):
        if piece in (PAUSE, FIN, RST):
            out.append(piece)
        elif piece:
            out.append(piece.encode("latin-1"))
    return out


def case_of(category, lines, number):
    m = HEAD.fullmatch(lines[0])
    assert m, f"{category}: {lines[0]!r} is no head of a case"
    exact, also = set(m[3].split()), set((m[4] or "").split())
    safe = exact | also | ({"closed", "aborted"} if "rejected" in exact | also else set())
    if "rejected" in exact and category == "responses":
        safe.add("waits")
    case = Case(m[1], category, m[2], exact, safe, f"{number:04d}")
    assert safe <= SAFE, f"{case.id}: {safe - SAFE} is never safe"
    parts, current = {">": [], "<": []}, None
    for line in lines[1:]:
        mark, text = line[:1], line[2:]
        if line == "--":
            parts[current].append(PAUSE)
        elif line in ("<fin", "<rst"):
            parts["<"].append(line[1:])
        elif mark in "<>":
            current = mark
            parts[mark].append(line_of(text))
        elif mark == "|":
            case.why += text + " "
        elif mark == "=":
            case.bodies.append(unescape(text.replace("CASE", case.code)).encode("latin-1"))
        else:
            kind, _, text = line.partition(" ")
            assert kind in ("no", "has", "as"), f"{case.id}: {line!r}"
            case.checks.append((kind, text.replace("CASE", case.code).encode("latin-1")))
    if not parts[">"]:
        parts[">"] = [line_of("@GET"), "\r\n"]
    assert case.why, f"{case.id} does not say why"
    case.sends, case.answers = joined(parts[">"], case.code), joined(parts["<"], case.code)
    case.bodies = case.bodies or [b""]
    return case


def load(files=FILES):
    cases = []
    for name in files:
        text = (pathlib.Path(__file__).parent / f"{name}.txt").read_text()
        for block in re.split(r"\n\n+", text.strip()):
            lines = [x for x in block.splitlines() if not x.startswith("#")]
            if lines:
                cases.append(case_of(name, lines, len(cases)))
    ids = [c.id for c in cases]
    assert len(ids) == len(set(ids)), [i for i in ids if ids.count(i) > 1]
    return cases
