"""The ways out of a kernel, as a table: a cell that lets a secret out, and what to look for.

In every cell, ``S`` is a token, ``W`` a password with characters that get escaped, ``Q`` a phrase, ``L`` a link, ``K``
a private key, and ``J`` a service account with that key.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

TOKEN = "ghp_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zAcDeF"  # made up
WILD = "pa/ss+w0rd \"q'uo\\te&<tag>%=\u00fc\u20ac-end"
PHRASE = "correct horse \"battery\" staple & 'glue'"
LINK = "https://www.dropbox.com/scl/fo/abcd1234efgh/AHxY-bcdefg?rlkey=q7z2k4m9x1c8v3b6n5p0w7r2t&st=abc&dl=0"
_BODY = base64.b64encode(b"".join(hashlib.sha512(bytes([n])).digest() for n in range(6))).decode()
KEY = "\n".join(["-----BEGIN PRIVATE KEY-----", *textwrap.wrap(_BODY, 64), "-----END PRIVATE KEY-----", ""])
ACCOUNT = json.dumps({
    "type": "service_account", "project_id": "my-project-123", "private_key_id": "1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e",
    "private_key": KEY, "client_email": "me@my-project-123.iam.gserviceaccount.com",
    "auth_uri": "https://accounts.google.com/o/oauth2/auth",
}, indent=2)  # fmt: skip
SECRETS = (TOKEN, WILD, PHRASE, LINK, KEY, ACCOUNT)

#: What the profile's database needs: IPython 8 has it only with a package that it does not ask for.
STORE = "" if importlib.util.find_spec("IPython.external.pickleshare") else "pickleshare"

SETUP = """
import asyncio, base64, ctypes, html, io, json, logging, multiprocessing, os, pathlib, pprint, subprocess, sys
import textwrap, threading, time, traceback, urllib.parse, warnings
from IPython.display import *
S, W, Q, L, K, J = json.loads(pathlib.Path("secrets.json").read_text())
_ = pathlib.Path("key.pem").write_text(K), pathlib.Path("account.json").write_text(J)
def b64(data): return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()
"""


@dataclass(frozen=True)
class Channel:
    """One way out.

    Parameters
    ----------
    name : str
        What the report calls it.
    code : str
        A cell. Secrets are in its variables, never in its source.
    needle : callable, optional
        What a leak looks like; by default the token as it is.
    needs : str
        A module without which the channel does not exist.
    options : dict
        Further arguments of the request.
    answers : tuple of str
        What is typed when the cell asks.
    ask : tuple
        Instead of a look at the cell's own messages: another request, made after it.
    file : str
        Instead: a file that the cell, or the kernel, writes.
    mark : str
        What stands in the secret's place.
    """

    name: str
    code: str
    needle: Callable[[], str] = lambda: TOKEN
    needs: str = ""
    options: dict[str, Any] | None = None
    answers: tuple[str, ...] = ()
    ask: tuple[Any, ...] = ()
    file: str = ""
    mark: str = "***"


def _b64(before: str) -> Callable[[], str]:
    # What stands for the token at this alignment, without the ends that its neighbours decide.
    return lambda: base64.b64encode((before + TOKEN + "~~").encode()).decode()[4:-8]


PNG = """
import struct, zlib
def chunk(kind, data): return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
png = b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
png += chunk(b"tEXt", b"Comment\\0" + S.encode()) + chunk(b"IDAT", zlib.compress(b"\\0\\0")) + chunk(b"IEND", b"")
"""

CHANNELS = [
    # Printed
    Channel("print", "print('token', S)"),
    Channel("print, in two parts", "print(S[:17], end=''); print(S[17:])"),
    Channel("print, cut by a flush", "print(S[:17], end='', flush=True); print(S[17:])"),
    Channel("print, a character at a time", "for c in S: print(c, end='', flush=True)"),
    Channel("print, cut by a pause", "print(S[:17], end='', flush=True); time.sleep(.4); print(S[17:])"),
    Channel("stderr", "print(S, file=sys.stderr)"),
    Channel("stderr, cut by a flush", "sys.stderr.write(S[:9]); sys.stderr.flush(); sys.stderr.write(S[9:])"),
    Channel("stdout and stderr by turns", "print(S, flush=True); print(S, file=sys.stderr, flush=True)"),
    Channel("logging", "logging.warning('using %s', S)"),
    Channel("logging to stdout", "h = logging.StreamHandler(sys.stdout); logging.getLogger('t').addHandler(h)\n"
            "logging.getLogger('t').error(S)"),
    Channel("warnings", "warnings.warn(S)"),
    Channel("pprint", "pprint.pprint({'a': [S] * 3})"),
    Channel("print, in a thread", "t = threading.Thread(target=print, args=(S,)); t.start(); t.join()"),
    Channel("print, in a coroutine", "async def f(): print(S)\nawait asyncio.gather(f(), f())"),
    Channel("sys.stdout.writelines", "sys.stdout.writelines([S[:5], S[5:]])"),
    Channel("%%capture, shown later", "from IPython.utils.capture import capture_output\n"
            "with capture_output() as c: print(S)\nc.show()"),
    Channel("traceback.print_exc", "try: raise KeyError(S)\nexcept KeyError: traceback.print_exc()"),
    Channel("carriage returns", "sys.stdout.write('\\r10%\\r' + S + '\\r')"),
    # Raised
    Channel("exception", "raise ValueError(S)"),
    Channel("exception, chained", "try: raise KeyError(S)\nexcept KeyError as e: raise ValueError('x') from e"),
    Channel("exception, in its context", "try: raise KeyError(S)\nexcept KeyError: raise ValueError('x')"),
    Channel("exception, in verbose mode", "%xmode Verbose\ndef f(secret): 1/0\nf(S)"),
    Channel("exception, minimal mode", "%xmode Minimal\nraise ValueError(S)"),
    Channel("exception, plain mode again", "%xmode Context\nassert not S, S"),
    Channel("exception, in a thread", "t = threading.Thread(target=lambda: int(S)); t.start(); t.join()"),
    Channel("SyntaxError", "exec('x = = \"' + S + '\"')"),
    Channel("execute_reply's error", "raise RuntimeError(S)", options={"silent": True}),
    Channel("SystemExit", "get_ipython().showtraceback((ValueError, ValueError(S), None))"),
    # Shown
    Channel("result", "S"),
    Channel("result, in a container", "{'k': [(S,)]}"),
    Channel("result, repr of an object", "type('T', (), {'__repr__': lambda self: f'T({S})'})()"),
    Channel("result, _repr_html_", "type('T', (), {'_repr_html_': lambda self: f'<b>{S}</b>'})()"),
    Channel("result, mime bundle", "type('T', (), {'_repr_mimebundle_': lambda s, **k: {'text/x-a': S}})()"),
    Channel("display", "display(S)"),
    Channel("display HTML", "display(HTML(f'<a href=\"?t={S}\">'))"),
    Channel("display Markdown", "display(Markdown(S))"),
    Channel("display JSON", "display(JSON({S: [S]}))"),
    Channel("display SVG", "display(SVG(f'<svg xmlns=\"http://www.w3.org/2000/svg\"><t>{S}</t></svg>'))"),
    Channel("display Javascript", "display(Javascript(f'let x = \"{S}\"'))"),
    Channel("display, metadata", "display({'text/plain': 'x'}, raw=True, metadata={'k': S})"),
    Channel("display, its id", "display('x', display_id=S)"),
    Channel("update_display", "display('x', display_id='d1'); update_display(S, display_id='d1')"),
    Channel("display, in a thread", "t = threading.Thread(target=display, args=(S,)); t.start(); t.join()"),
    Channel("picture's text chunk", PNG + "display(Image(png))", needle=_b64("a"), mark="Kioq"),
    # Other programs
    Channel("!cmd", "!echo {S}"),
    Channel("!cmd, its stderr", "!echo {S} >&2"),
    Channel("!!cmd", "!!echo {S}"),
    Channel("%%bash", "get_ipython().run_cell_magic('bash', '', f'echo {S}')"),
    Channel("%%bash -x", "get_ipython().run_cell_magic('bash', '', f'set -x; : {S}')"),
    Channel("os.system", "os.system(f'echo {S}')"),
    Channel("subprocess, inherited stdout", "subprocess.run(['echo', S])"),
    Channel("subprocess, sys.stdout given", "subprocess.run(['echo', 'given', S], stdout=sys.stdout)",
            file="server.log"),
    Channel("subprocess, its error", "subprocess.run(['false', S], check=True)"),
    Channel("os.write(1)", "_ = os.write(1, S.encode() + b'\\n')"),
    Channel("os.write(2), in two parts", "_ = os.write(2, S[:20].encode()), os.write(2, S[20:].encode() + b'\\n')\n"),
    Channel("C library", "_ = ctypes.CDLL(None).puts(S.encode()), ctypes.CDLL(None).fflush(None)"),
    Channel("fork and print", "pid = os.fork()\nif not pid: print(S, flush=True); os._exit(0)\n"
            "os.waitpid(pid, 0)"),
    Channel("fork and os.write", "pid = os.fork()\nif not pid: os.write(1, S.encode()); os._exit(0)\n"
            "os.waitpid(pid, 0)"),
    Channel("multiprocessing, fork", "p = multiprocessing.get_context('fork').Process(target=print, args=(S,))\n"
            "p.start(); p.join()"),
    Channel("multiprocessing, spawn", "p = multiprocessing.get_context('spawn').Process(target=print, args=(S,))\n"
            "p.start(); p.join()"),
    # Spelled otherwise
    Channel("base64, alignment 0", "print(b64('abc' + S + '~~'))", needle=_b64("abc")),
    Channel("base64, alignment 1", "print(b64('a' + S + '~~'))", needle=_b64("a")),
    Channel("base64, alignment 2", "print(b64('ab' + S + '~~'))", needle=_b64("ab")),
    Channel("base64, url-safe", "print(base64.urlsafe_b64encode(W.encode()).decode())",
            needle=lambda: base64.urlsafe_b64encode(WILD.encode()).decode()[:-4]),
    Channel("base64, in lines", "print(base64.encodebytes(('user:' * 12 + S).encode()).decode())",
            needle=lambda: _b64("user:" * 12)()[80:]),
    Channel("base64, in lines, as a repr", "base64.encodebytes(('user:' * 12 + S).encode())",
            needle=lambda: _b64("user:" * 12)()[80:]),
    Channel("Basic header", "print('Authorization: Basic ' + b64('x-access-token:' + S))",
            needle=lambda: _b64("x-access-token:")()[18:]),
    Channel("hexadecimal", "print(S.encode().hex())", needle=lambda: TOKEN.encode().hex()),
    Channel("hexadecimal, capital", "print(S.encode().hex().upper())", needle=lambda: TOKEN.encode().hex().upper()),
    Channel("hexadecimal, in pairs", "print(S.encode().hex(' '))", needle=lambda: TOKEN.encode().hex(" ")),
    Channel("hexadecimal, with colons", "print(S.encode().hex(':'))", needle=lambda: TOKEN.encode().hex(":")),
    Channel("hexadecimal, with hyphens", "print(S.encode().hex('-'))", needle=lambda: TOKEN.encode().hex("-")),
    Channel("quoted for a URL", "print(urllib.parse.quote(W))", needle=lambda: quote(WILD)),
    Channel("quoted for a URL, all", "print(urllib.parse.quote(W, safe=''))", needle=lambda: quote(WILD, safe="")),
    Channel("quoted for a form", "print(urllib.parse.urlencode({'t': W}))", needle=lambda: "pa%2Fss%2Bw0rd+%22"),
    Channel("as JSON", "print(json.dumps({'t': W}))", needle=lambda: json.dumps(WILD)[1:-1]),
    Channel("as JSON in JSON", "print(json.dumps(json.dumps({'t': W})))",
            needle=lambda: json.dumps(json.dumps(WILD))[3:-3]),
    Channel("as HTML", "display(HTML('<pre>' + html.escape(W) + '</pre>'))", needle=lambda: "&amp;&lt;tag&gt;"),
    Channel("with special characters", "print(W)", needle=lambda: WILD),
    Channel("with special characters, result", "W", needle=lambda: repr(WILD)[1:-1]),
    Channel("as bytes", "W.encode()", needle=lambda: repr(WILD.encode())[2:-1]),
    Channel("a character at a time, spaced", "print(' '.join(S))"),
    Channel("wrapped into lines", "print(textwrap.fill(S, 12, subsequent_indent='    '))"),
    Channel("coloured in parts", "print(S[:9] + '\\x1b[31m' + S[9:20] + '\\x1b[0m\\x1b[1m' + S[20:])"),
    Channel("coloured, as a repr", "S[:9] + '\\x1b[31m' + S[9:]", needle=lambda: TOKEN[:9] + r"\x1b[31m" + TOKEN[9:]),
    Channel("cut off", "print(S[:15] + '...')", needle=lambda: TOKEN[:15]),
    # Asked for
    Channel("%env", "os.environ['MY_TOKEN'] = S\n%env MY_TOKEN"),
    Channel("%env, all", "_ = os.environ.update(MY_VALUE=S)\n%env"),
    Channel("%whos", "S2 = 'Bearer ' + S\n%whos str"),
    Channel("%whos, cut off", "S3 = S + 'x' * 60\n%whos str", needle=lambda: TOKEN[:25]),
    Channel("%pinfo", "%pinfo S"),
    Channel("%pdoc", "def fd(): pass\nfd.__doc__ = S\n%pdoc fd"),
    Channel("%psource", "_ = pathlib.Path('mod_a.py').write_text(f'def g():\\n    return {S!r}\\n')\n"
            "sys.path.insert(0, '.'); import mod_a\n%psource mod_a.g"),
    Channel("help()", "def fh(): pass\nfh.__doc__ = S\nhelp(fh)"),
    Channel("%pycat", "_ = pathlib.Path('cat.py').write_text(f't = {S!r}')\n%pycat cat.py"),
    Channel("%load", "_ = pathlib.Path('load.py').write_text(f't = {S!r}')\n%load load.py"),
    Channel("set_next_input", "get_ipython().set_next_input(S)"),
    Channel("%history", "get_ipython().history_manager.store_inputs(9001, 'x = ' + S)\n%history"),
    Channel("In, _i", "get_ipython().history_manager.store_inputs(9002, 'x = ' + S)\nprint(In[-1], _i)"),
    Channel("%notebook", "get_ipython().history_manager.store_inputs(9003, 'x = ' + S)\n"
            "get_ipython().history_manager.store_inputs(9004, 'pass')\n%notebook nb.ipynb",
            needs="nbformat", file="nb.ipynb"),
    # Not earlier, since %notebook would export it, which takes its time
    Channel("coloured, in a million characters",
            "c = '\\x1b[32mx\\x1b[0m ' * 50_000; print(c + '\\x1b[1m'.join(S) + c)"),
    Channel("print, in a million characters", "print('x ' * 500_000 + S + ' x' * 500_000)"),
    Channel("history.sqlite", "h = get_ipython().history_manager\nh.store_inputs(9005, 'x = ' + S)\n"
            "h.writeout_cache(); h.db.commit()", file="ipython/profile_default/history.sqlite"),
    Channel("%logstart", "%logstart -q log.py\nget_ipython().logger.log('x=' + S, 'x=' + S)\n%logstop", file="log.py"),
    Channel("input()", "input('for ' + S + ': ')", answers=("y",)),
    Channel("getpass", "import getpass; getpass.getpass('for ' + S)", answers=("y",)),
    Channel("pdb", "import pdb\ndef dbg(a):\n    pdb.set_trace()\n    return a\ndbg(S)", answers=("p a", "c")),
    Channel("user expressions", "pass", options={"user_expressions": {"k": "S", "e": "int(S)"}}),
    Channel("completion", "D = {S: 1}", ask=("complete", "D['", 3)),
    Channel("inspection", "", ask=("inspect", "S", 1)),
    Channel("history request", "get_ipython().history_manager.store_inputs(9006, 'y = ' + S)",
            ask=("history",), options={"raw": False, "hist_access_type": "tail", "n": 5}),
    Channel("the server's log", "_ = os.write(1, b'logged ' + S.encode() + b'\\n')", file="server.log"),
    Channel("the kernel's log", "sys.__stderr__.write('log ' + S + '\\n'); sys.__stderr__.flush()",
            file="server.log"),
    # Connected
    Channel("comm", "from ipykernel.comm import Comm\nc = Comm('t', data={'x': S}); c.send({'y': S}); c.close()"),
    Channel("comm, buffers", "from ipykernel.comm import Comm\nc = Comm('t'); c.send({}, buffers=[S.encode()])"),
    Channel("comm, metadata", "from ipykernel.comm import Comm\nc = Comm('t'); c.send({}, metadata={'m': S})"),
    Channel("content packed beforehand", "k = get_ipython().kernel\n"
            "m = k.session.msg('x_colab', parent=k.get_parent()); m['content'] = json.dumps({'x': S})\n"
            "k.session.send(k.iopub_socket, m)"),
    Channel("widget", "import ipywidgets; ipywidgets.HTML(S)", needs="ipywidgets"),
    Channel("widget, updated", "import ipywidgets; w = ipywidgets.Text(); display(w); w.value = S", needs="ipywidgets"),
    Channel("widget, captured output", "import ipywidgets; o = ipywidgets.Output()\ndisplay(o)\nwith o: print(S)",
            needs="ipywidgets"),
    Channel("tqdm", "import tqdm\nfor _ in tqdm.tqdm(range(2), desc=S): pass", needs="tqdm"),
    Channel("rich", "import rich; rich.print({'a': S})", needs="rich"),
    Channel("rich table", "import rich.table as rt, rich; t = rt.Table(); t.add_column('a'); t.add_row(S)\n"
            "rich.print(t)", needs="rich"),
    Channel("rich traceback", "import rich.console\ntry: raise ValueError(S)\nexcept ValueError: "
            "rich.console.Console().print_exception(show_locals=True)", needs="rich"),
    Channel("pandas", "import pandas; pandas.DataFrame({'a': [S]})", needs="pandas"),
    Channel("pandas, printed", "import pandas; print(pandas.Series([S]))", needs="pandas"),
]  # fmt: skip

# What a person reads of the others: a line of the key, the word that grants access to the link, a piece of the phrase.
LINE = KEY.split("\n")[3]
RLKEY = "q7z2k4m9x1c8v3b6n5p0w7r2t"  # made up


def _of(text: str) -> Callable[[], str]:
    return lambda: text


_LINE, _RLKEY, _HEAD, _TAIL = _of(LINE[4:34]), _of(RLKEY), _of(TOKEN[:11]), _of(TOKEN[-11:])
_MIDDLE = _of(TOKEN[4:9])
_RICH = (
    "import io, rich.console, rich.panel, rich.table, rich.box, rich.columns, rich.tree, rich.text\n"
    "def shown(x, width=40, **o):\n    c = rich.console.Console(file=io.StringIO(), width=width, force_terminal=True,"
    " force_jupyter=False)\n    c.print(x, **o); sys.stdout.write(c.file.getvalue())\n"
)
_TABLE = "rows = [['x y ' * 9, S, 'z ' * 20], ['w', L, 'v']]\n"


def _channels(needle: Callable[[], str], codes: str, *, prefix: str = "", needs: str = "") -> list[Channel]:
    """Make a channel of each line: its name is the code, and the code follows `prefix`."""
    return [Channel(f"{needs} {line}".strip(), f"{prefix}\n{line}", needle, needs=needs) for line in codes.split("\n")]


CHANNELS += [
    # Secrets of several lines
    *_channels(_LINE, r"""
print(K)
pprint.pprint({'private_key': K})
pprint.pprint(K, width=30)
print(K.splitlines())
print(*K.splitlines(), sep=', ')
print('\n'.join(f'{n:3d}: {line}' for n, line in enumerate(K.splitlines())))
print('\n'.join(f'{n} | {line}' for n, line in enumerate(K.splitlines())))
print(''.join(__import__('difflib').unified_diff([], K.splitlines(True))))
print('\n'.join(__import__('difflib').ndiff(K.splitlines(), ['x'])))
print(textwrap.indent(K, '> '))
print(textwrap.indent(K, '# '))
print(textwrap.indent(K, '//   '))
print(json.dumps({'k': K}))
print(json.dumps(json.dumps({'k': K})))
K
{'k': K}
K.encode()
K.splitlines()[3]
print(K.splitlines()[3][:40])
for line in K.splitlines(): print(line, flush=True)
for line in K.splitlines(): logging.warning(line)
for line in K.splitlines(): _ = os.write(1, line.encode() + b'\n')
raise ValueError(K)
raise ValueError(K.splitlines())
warnings.warn(K)
display(HTML('<br>'.join(K.splitlines())))
display(HTML('<table>' + ''.join(f'<tr><td>{line}</td></tr>' for line in K.splitlines()) + '</table>'))
display(Markdown('```\n' + K + '\n```'))
display(JSON({'k': K}))
display(Code(K))
!cat key.pem
!cat -n key.pem
!nl -ba key.pem
!grep -n . key.pem
!head -c 300 key.pem
!sed 's/^/+/' key.pem
!diff key.pem /dev/null
%pycat key.pem
_ = [display(line) for line in K.splitlines()]
print(K.replace('\n', ''))
print(K.replace('\n', '\\n'))
print(repr(K.encode()))
import csv; csv.writer(sys.stdout).writerow(['k', K])
import configparser as c; p = c.ConfigParser(); p['a'] = {'k': K}; p.write(sys.stdout)
print(urllib.parse.unquote(urllib.parse.quote(K)))
print(J)
pprint.pprint(json.loads(J))
json.loads(J)
json.loads(J)['private_key']
print(json.dumps(json.loads(J), sort_keys=True))
print(str(json.loads(J)))
print(*json.loads(J).items(), sep='\n')
print(json.loads(J)['private_key'].split('\n')[3])
!cat account.json""".strip()),
    *_channels(_of("1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e"), """
print(json.loads(J)['private_key_id'])
json.loads(J)['private_key_id'], 1
print('id', json.loads(J)['private_key_id'][:20] + '...', json.loads(J)['private_key_id'])""".strip()),
    *_channels(lambda: base64.b64encode(b"x" + KEY.encode()).decode()[40:-40], """
print(b64('x' + K))
print(base64.encodebytes(b'x' + K.encode()).decode())""".strip()),
    *_channels(lambda: base64.b64encode(ACCOUNT.encode()).decode()[40:-40], "print(b64(J))"),
    # Secrets with spaces
    *_channels(_of("battery"), r"""
print(Q)
pprint.pprint([Q], width=30)
pprint.pprint({'phrase': Q, 'x': 1}, width=20)
print(textwrap.fill(Q, 12))
print(textwrap.fill(Q, 12, initial_indent='| ', subsequent_indent='| '))
print('\n'.join(f'> {line}' for line in textwrap.wrap(Q, 15)))
print('"' + '"\n "'.join(textwrap.wrap(Q, 15, drop_whitespace=False)) + '"')
Q
[Q]
print(json.dumps(Q))
raise ValueError(Q)
print(Q.replace(' ', '\n'))
print(Q.replace(' ', '   '))""".strip()),
    # Boxes and columns
    *_channels(_MIDDLE, """
shown(rich.panel.Panel(S))
shown(rich.panel.Panel(S), 28)
shown(rich.panel.Panel(S, box=rich.box.ASCII), 28)
shown(rich.panel.Panel(S, box=rich.box.DOUBLE, style='red'), 28)
shown(rich.panel.Panel(rich.panel.Panel(S)), 28)
shown(rich.columns.Columns([S, S], width=20), 24)
shown(rich.text.Text(S, style='bold blue'), 20)
t = rich.tree.Tree('a'); t.add(S); t.add('b').add(S); shown(t, 30)
t = rich.table.Table('a', 'b'); t.add_row('x', S); shown(t, 30)
t = rich.table.Table('a', 'b', box=rich.box.MARKDOWN); t.add_row('x', S); shown(t, 30)
t = rich.table.Table('a', rich.table.Column('b', overflow='fold'), 'c'); t.add_row('x ' * 20, S, 'y ' * 30); shown(t, 50)
t = rich.table.Table('a', rich.table.Column('b', overflow='fold'), 'c', box=rich.box.ASCII); t.add_row('x ' * 20, S, 'y ' * 30); shown(t, 50)
import rich.markdown; shown(rich.markdown.Markdown(f'> quoted `{S}` text'), 26)
import rich.syntax; shown(rich.syntax.Syntax(f'token = "{S}"', 'python', line_numbers=True, word_wrap=True), 34)
import rich.pretty; shown(rich.pretty.Pretty({'a': [S] * 3}, expand_all=True))
rich.print(rich.panel.Panel(S, width=28))""".strip(), prefix=_RICH, needs="rich"),
    *_channels(_of("rlkey=q7"), """
shown(rich.panel.Panel(L))
shown(rich.panel.Panel(L), 60)
rich.print(rich.panel.Panel(L, width=70))
rich.print(L)
shown(L, 50, highlight=True)
import rich.markdown; shown(rich.markdown.Markdown(f'[a]({L}) <{L}>'), 44)
shown({'link': L}, 36)""".strip(), prefix=_RICH, needs="rich"),
    *_channels(_of(RLKEY[2:10]), """
t = rich.table.Table('a', rich.table.Column('b', overflow='fold'), 'c'); t.add_row('x ' * 20, L, 'y ' * 30); shown(t, 60)
""".strip(), prefix=_RICH, needs="rich"),
    *_channels(_of("w0rd"), """
shown(rich.panel.Panel(rich.text.Text(W)), 24)
rich.print({'a': W})
shown([W], highlight=True)""".strip(), prefix=_RICH, needs="rich"),
    *_channels(_of(TOKEN[28:34]), "\n".join(
        f"print(tabulate.tabulate(rows, tablefmt={kind!r}, maxcolwidths=14))"
        for kind in ("grid", "fancy_grid", "rounded_grid", "outline", "pipe", "orgtbl", "psql", "presto", "github")
    ), prefix="import tabulate\n" + _TABLE, needs="tabulate"),
    *_channels(_of(TOKEN[28:34]), """
print(tabulate.tabulate([['x', S]], tablefmt='plain', maxcolwidths=14))
print(tabulate.tabulate([['x', S]], tablefmt='html', maxcolwidths=14))
print(tabulate.tabulate([['x', S]], tablefmt='latex'))
print(tabulate.tabulate([['x', S]], tablefmt='rst', maxcolwidths=14))""".strip(),
              prefix="import tabulate", needs="tabulate"),
    *_channels(_of(TOKEN[28:34]), """
t.max_width = 14; print(t)
t.max_table_width = 40; print(t)
t.set_style(prettytable.DOUBLE_BORDER if hasattr(prettytable, 'DOUBLE_BORDER') else 15); t.max_width = 14; print(t)
t.set_style(prettytable.MARKDOWN if hasattr(prettytable, 'MARKDOWN') else 13); print(t)
print(t.get_html_string())
print(t.get_csv_string())""".strip(), prefix="import prettytable\n" + _TABLE
              + "t = prettytable.PrettyTable(['a', 'b', 'c']); t.add_rows(rows)", needs="prettytable"),
    *_channels(_RLKEY, """
pandas.DataFrame({'a': [L]}).to_html()
print(pandas.DataFrame({'a': [L], 'b': ['x']}).to_csv())
print(pandas.DataFrame({'a': [L], 'b': ['x']}).to_json())
print(pandas.DataFrame({'a': [L]}).to_string(max_colwidth=None))
pandas.Index([L])
pandas.DataFrame({L: [1]})
pandas.Series({L: 1}).to_dict()
raise KeyError(pandas.Series([L]).iloc[0])""".strip(), prefix="import pandas", needs="pandas"),
    *_channels(_HEAD, """
print(pandas.DataFrame({'a': [S + S]}).to_string(max_colwidth=20))
pandas.set_option('display.max_colwidth', 20); display(pandas.DataFrame({'a': [S], 'b': [S]}))""".strip(),
              prefix="import pandas", needs="pandas"),
    *_channels(_MIDDLE, r"""
print('\n'.join('| ' + part + ' |' for part in textwrap.wrap(S, 12)))
print('\n'.join('\u2551 ' + part + ' ' * 60 + ' \u2551' for part in textwrap.wrap(S, 12)))
print('\n'.join('# ' + part for part in textwrap.wrap(S, 9)))
print('\n'.join('> ' + part for part in textwrap.wrap(S, 9)))
print('"' + '"\n"'.join(textwrap.wrap(S, 9)) + '"')
print("('" + "'\n '".join(textwrap.wrap(S, 9)) + "')")
print('\\\n'.join(textwrap.wrap(S, 9)))
print(json.dumps(textwrap.wrap(S, 9), indent=4))
display(Markdown('| a | b |\n|---|---|\n| x | ' + S[:20] + ' |\n|  | ' + S[20:] + ' |'))
print('\u2502 ' + S[:20] + ' \u2502 one \u2502\n\u2502 ' + S[20:] + ' \u2502 two \u2502')
print('| ' + S[4:13] + ' | one |\n| ' + S[13:26] + ' | two |\n| ' + S[26:] + ' | three |')
print('a,b\n"' + S[:20] + '","' + S[20:] + '"')""".strip()),
    *(Channel(f"between the characters: {name}", code, needle=_of(needle)) for name, code, needle in (
        ("a list", "print(list(S))", "'B', '3', 'd'"), ("a tuple, as a result", "tuple(S)", "'B', '3', 'd'"),
        ("commas", "print(*S, sep=', ')", "B, 3, d"), ("bars", "print('|'.join(S))", "B|3|d"),
        ("NUL", "print(chr(0).join(S))", "B\0003\0d"), ("zero width", "print('\u200b'.join(S))", "B\u200b3\u200bd"),
        ("tags", "display(HTML(''.join(f'<span style=\"color: red\">{c}</span>' for c in S)))", ">B</span>"),
        ("<wbr>", "display(HTML('<wbr>'.join(textwrap.wrap(S, 4))))", "aB3d"),
        ("UTF-16, bytes", "print(S.encode('utf-16'))", "B\\x003\\x00d"),
    )),
    # Cut in the middle
    *_channels(_HEAD, r"""
print(S[:11] + '<...>' + S[-20:])
print(S[:11] + '...')
print(S[:11] + '\u2026')
print(S[:11] + ' [...]')
print(repr(S[:11]) + '...')
print(f'{S[:11]}...{S[-11:]}')
print('\x1b[31m' + S[:11] + '\x1b[0m...')
import reprlib; r = reprlib.Repr(); r.maxstring = 30; print(r.repr(S))
print('\u2502', S[:11], '\u2502')""".strip()),
    Channel("%whos, cut in the middle", "S5 = S + 'y' * 90\n%whos str", needle=_HEAD),
    *_channels(_TAIL, r"""
print('...' + S[-11:])
print('\u2026' + S[-11:])
print('<...>' + S[-11:])
print('...' + repr(S[-11:]))
print('... ', S[-11:])
print('...', end='', flush=True); print(S[-11:-5], end='', flush=True); print(S[-5:])
print('...' + '\x1b[1m' + S[-11:])
print(textwrap.shorten('x' * 40, 20), '...' + S[-11:])""".strip()),
    Channel("os.write(2), two pieces and a pause",
            "_ = os.write(2, S[:11].encode()); time.sleep(.5); _ = os.write(2, S[11:].encode() + b'\\n')", needle=_HEAD),
    Channel("os.write(1), two pieces and a pause",
            "_ = os.write(1, S[:30].encode()); time.sleep(.5); _ = os.write(1, S[30:].encode() + b'\\n')", needle=_HEAD),
    # Escapes
    *(Channel(f"escaped: {name}", code, needle=_of(needle), needs=needs) for name, code, needle, needs in (
        ("csv", "import csv; csv.writer(sys.stdout).writerow([W, 1])", 'w0rd ""q', ""),
        ("ElementTree, text", "import xml.etree.ElementTree as E; e = E.Element('a'); e.text = W\n"
         "print(E.tostring(e, encoding='unicode'))", "&amp;&lt;tag&gt;%=\u00fc", ""),
        ("ElementTree, ASCII", "import xml.etree.ElementTree as E; e = E.Element('a'); e.text = W\nprint(E.tostring(e))",
         "&amp;&lt;tag&gt;%=&#252;", ""),
        ("ElementTree, attribute", "import xml.etree.ElementTree as E; print(E.tostring(E.Element('a', k=W)))",
         "w0rd &quot;q", ""),
        ("saxutils", "import xml.sax.saxutils as x; print(x.escape(W), x.quoteattr(W))", "&amp;&lt;tag&gt;%", ""),
        ("minidom", "import xml.dom.minidom as m; d = m.Document(); print(d.createTextNode(W).toxml())",
         "&amp;&lt;tag&gt;%", ""),
        ("markupsafe", "import markupsafe; print(markupsafe.escape(W))", "w0rd &#34;q&#39;uo", "markupsafe"),
        ("html, without quotes", "print(html.escape(W, quote=False))", "&amp;&lt;tag&gt;", ""),
        ("html in JSON", "print(json.dumps(html.escape(W)))", "&amp;&lt;tag&gt;", ""),
        ("JSON in html", "print(html.escape(json.dumps(W)))", "&amp;&lt;tag&gt;", ""),
        ("encodeURIComponent", "print(urllib.parse.quote(W, safe=\"!~*'()\"))", "%22q'uo%5Cte%26%3Ctag", ""),
        ("encodeURI", "print(urllib.parse.quote(W, safe=\";/?:@&=+$,#!~*'()\"))", "%22q'uo%5Cte&%3Ctag", ""),
        ("a query", "print(urllib.parse.urlencode({'q': W}, quote_via=urllib.parse.quote))", "%22q%27uo%5Cte%26", ""),
        ("a URL in a URL", "print(urllib.parse.quote(urllib.parse.quote(W)))", "%2522q%2527uo", ""),
        ("YAML", "import yaml; print(yaml.dump({'a': W}))", "w0rd", "yaml"),
        ("YAML, quoted", "import yaml; print(yaml.dump({'a': W}, default_style='\"', width=12))", "w0rd", "yaml"),
        ("YAML, single quotes", "import yaml; print(yaml.dump({'a': W}, default_style=\"'\", allow_unicode=True))",
         "q''uo", "yaml"),
        ("YAML, a key", "import yaml; print(yaml.dump({'a': K}))", LINE[:20], "yaml"),
        ("YAML, an account", "import yaml; print(yaml.dump(json.loads(J)))", LINE[:20], "yaml"),
        ("SQL", "print(\"insert into t values ('\" + W.replace(\"'\", \"''\") + \"')\")", "q''uo", ""),
        ("sqlite", "import sqlite3; print(sqlite3.connect(':memory:').execute('select quote(?)', (W,)).fetchone()[0])",
         "q''uo", ""),
        ("shlex", "import shlex; print(shlex.quote(W), shlex.join(['a', W]))", "q'\"'\"'uo", ""),
        ("bash, printf %q", "os.environ['V'] = W\n!bash -c 'printf \"%q\\n\" \"$V\"'", "w0rd", ""),
        ("bash, declare -p", "os.environ['V'] = W\n!bash -c 'declare -p V'", "w0rd", ""),
        ("bash, set -x", "os.environ['V'] = W\n!bash -xc ': \"$V\"'", "w0rd", ""),
        ("JSON, < and & as in Go", "print(json.dumps(W).replace('&', '\\\\u0026').replace('<', '\\\\u003c')"
         ".replace('>', '\\\\u003e'))", "\\u0026\\u003ctag\\u003e", ""),
        ("JSON, as Jinja does", "print(json.dumps(W).replace('&', '\\\\u0026').replace('<', '\\\\u003c')"
         ".replace('>', '\\\\u003e').replace(\"'\", '\\\\u0027'))", "\\u0026\\u003ctag\\u003e", ""),
        ("JavaScript, as Django does", "print(''.join(f'\\\\u{ord(c):04X}' if c in '\\\\\\'\"><&=-;`' else c for c in W))",
         "\\u0026\\u003Ctag\\u003E", ""),
        ("base64 of JSON", "print(b64(json.dumps({'t': W})))", base64.b64encode(
            json.dumps({"t": WILD}).encode()).decode()[12:-8], ""),
        ("base64 of JSON, UTF-8", "print(b64(json.dumps({'t': W}, ensure_ascii=False)))", base64.b64encode(
            json.dumps({"t": WILD}, ensure_ascii=False).encode()).decode()[12:-8], ""),
        ("a token without a signature", "print('eyJhbGciOiJub25lIn0.' + base64.urlsafe_b64encode(json.dumps({'t': S})"
         ".encode()).decode() + '.')", base64.b64encode(json.dumps({"t": TOKEN}).encode()).decode()[12:-8], ""),
        ("NFD", "import unicodedata; print(unicodedata.normalize('NFD', W))", "%=u\u0308", ""),
        ("base32", "print(base64.b32encode(S.encode()).decode())", base64.b32encode(TOKEN.encode()).decode()[:24], ""),
        ("base32, behind three characters", "print(base64.b32encode(b'abc' + S.encode()).decode())",
         base64.b32encode(b"abc" + TOKEN.encode()).decode()[8:30], ""),
        ("base64 of UTF-16", "print(b64(S.encode('utf-16-le')))",
         base64.b64encode(TOKEN.encode("utf-16-le")).decode()[:24], ""),
        ("UTF-16, shown by a viewer", "_ = os.write(1, S.encode('utf-16-le'))", "\0".join(TOKEN), ""),
        ("repr in repr", "print(repr(repr(W)))", "w0rd", ""),
        ("ascii", "print(ascii(W))", "\\xfc\\u20ac", ""),
        ("unicode_escape", "print(W.encode('unicode_escape'))", "xfc\\\\u20ac", ""),
        ("backslashreplace", "print(W.encode('ascii', 'backslashreplace').decode())", "\\xfc\\u20ac", ""),
        ("xmlcharrefreplace", "print(W.encode('ascii', 'xmlcharrefreplace').decode())", "w0rd \"q'uo\\te&<tag>", ""),
        ("octal", "print(''.join(f'\\\\{b:o}' if b > 127 else chr(b) for b in W.encode()))", "\\303\\274", ""),
        ("a .env file", "print('T=\"' + W.replace('\\\\', '\\\\\\\\').replace('\"', '\\\\\"') + '\"')", "q'uo\\\\te", ""),
        ("a string format", "'%s %r' % (W, W)", "w0rd", ""),
        ("Python source", "print(f'token = {W!r}  # a comment')", "w0rd", ""),
        ("a query in HTML", "display(HTML('<a href=\"' + html.escape(L) + '\">'))", RLKEY, ""),
        ("a parsed link", "urllib.parse.parse_qs(L)", RLKEY, ""),
        ("a split link", "print(*L.replace('?', '&').split('&'), sep='\\n')", RLKEY, ""),
        ("a link's request", "print('> GET ' + L.partition('.com')[2] + ' HTTP/1.1')", RLKEY, ""),
        ("a wrapped link", "print(textwrap.fill(L, 20))", RLKEY[:8], ""),
    )),
    # Stored
    Channel("%cd into it", "os.makedirs(S, exist_ok=True)\n%cd -q {S}\n%cd -q ..", needs=STORE, file="ipython/profile_default/db/dhist"),
    Channel("%dhist", "os.makedirs(S, exist_ok=True)\n%cd -q {S}\n%cd -q ..\n%dhist"),
    Channel("%cd, aloud", "os.makedirs(S, exist_ok=True)\n%cd {S}\n%cd -q .."),
    Channel("%bookmark", "%bookmark place /tmp/{S}", needs=STORE, file="ipython/profile_default/db/bookmarks"),
    Channel("%bookmark -l", "%bookmark place /tmp/{S}\n%bookmark -l", needs=STORE),
    Channel("%store alias", "%load_ext storemagic\nget_ipython().alias_manager.define_alias('al', 'echo ' + S)\n"
            "%store al", needs=STORE, file="ipython/profile_default/db/stored_aliases"),
    Channel("%history -f", "get_ipython().history_manager.store_inputs(9007, 'x = ' + S)\n%history -f hist.py", file="hist.py"),
    Channel("%save", "get_ipython().history_manager.store_inputs(9008, 'x = ' + S)\nn = len(In) - 1\n%save -f saved.py {n}", file="saved.py"),
    Channel("%macro", "get_ipython().history_manager.store_inputs(9009, 'x = ' + S)\nn = len(In) - 1\n%macro -q mac {n}\n%macro mac {n}"),
    Channel("%recall", "get_ipython().history_manager.store_inputs(9010, 'x = ' + S)\nn = len(In) - 1\n%recall {n}"),
    Channel("%logstart -o", "%logstart -o -q logo.py\nget_ipython().logger.log('y=' + S, 'y=' + S)\n%logstop", file="logo.py"),
    Channel("%tb", "def ft(): raise ValueError(S)\ntry: ft()\nexcept ValueError: get_ipython().showtraceback()\n%tb"),
    Channel("%prun", "exec('def ' + S.replace('-', '_') + '(): pass\\n_p = ' + S)\n%prun -q 1\nprint(_p)"),
    Channel("%timeit's error", "%timeit -n1 -r1 int(S)"),
    Channel("%who_ls", "globals()['v_' + S] = 1\n%who_ls"),
    Channel("%psearch", "globals()['v_' + S] = 1\n%psearch v_*"),
    Channel("%alias", "get_ipython().alias_manager.define_alias('al2', 'echo ' + S)\n%alias"),
    Channel("%lsmagic's function", "get_ipython().register_magic_function(lambda line: S, 'line', 'leaky')\n%leaky"),
    # Connected
    Channel("ipywidgets, a table", "import ipywidgets; ipywidgets.HTML('<td>' + '</td><td>'.join([S[:20], S[20:]]) + '</td>')",
            needle=_HEAD, needs="ipywidgets"),
    Channel("ipywidgets, a label with quotes", "import ipywidgets; ipywidgets.Label(W)", needle=_of("w0rd"), needs="ipywidgets"),
    Channel("anywidget", "import anywidget, traitlets\nclass Wi(anywidget.AnyWidget):\n    _esm = 'export default {}'\n"
            "    v = traitlets.Unicode().tag(sync=True)\nWi(v=S)", needs="anywidget"),
    Channel("anywidget, its code", "import anywidget\nclass Wj(anywidget.AnyWidget):\n    _esm = f'export default {{t: \"{S}\"}}'\n"
            "Wj()", needs="anywidget"),
    Channel("anywidget, a custom message", "import anywidget\nclass Wk(anywidget.AnyWidget):\n    _esm = 'x'\n"
            "Wk().send({'t': S}, buffers=[S.encode()])", needs="anywidget"),
    Channel("plotly", "import plotly.graph_objects as go; go.Figure(layout={'title': {'text': S}}).to_json()", needs="plotly"),
    Channel("plotly, in HTML", "import plotly.graph_objects as go\n"
            "print(go.Figure(layout={'title': {'text': L}}).to_html(include_plotlyjs=False))", needle=_RLKEY, needs="plotly"),
    Channel("plotly, with special characters", "import plotly.graph_objects as go\n"
            "print(go.Figure(layout={'title': {'text': W}}).to_html(include_plotlyjs=False))",
            needle=_of("w0rd"), needs="plotly"),
    Channel("plotly, displayed", "import plotly.graph_objects as go, plotly.io as pio\n"
            "display({'application/vnd.plotly.v1+json': go.Figure(layout={'title': {'text': S}}).to_plotly_json()}, raw=True)",
            needs="plotly"),
    Channel("matplotlib, SVG", "import io, matplotlib; matplotlib.use('svg'); import matplotlib.pyplot as plt\n"
            "f = plt.figure(); f.text(0, 0, S); o = io.StringIO(); f.savefig(o, format='svg'); display(SVG(o.getvalue()))",
            needs="matplotlib"),
    Channel("matplotlib, SVG with its font", "import io, matplotlib; matplotlib.use('svg'); import matplotlib.pyplot as plt\n"
            "plt.rcParams['svg.fonttype'] = 'none'; f = plt.figure(); f.text(0, 0, W); o = io.StringIO()\n"
            "f.savefig(o, format='svg'); print(o.getvalue())", needle=_of("w0rd"), needs="matplotlib"),
    Channel("matplotlib, metadata of a picture", "import io, matplotlib; matplotlib.use('svg')\n"
            "import matplotlib.pyplot as plt; o = io.StringIO()\n"
            "plt.figure().savefig(o, format='svg', metadata={'Title': S}); print(o.getvalue())", needs="matplotlib"),
    # Other white space, and what cannot be seen
    *_channels(_of("battery"), """
print(Q.replace(' ', chr(160)))
print(Q.replace(' ', chr(0x3000)))
display(HTML(html.escape(Q).replace(' ', '&nbsp;')))
display(HTML(html.escape(Q).replace(' ', '&#160;')))
import difflib; print(difflib.HtmlDiff().make_table([Q], ['x']))""".strip()),
    *_channels(_of(TOKEN[6:12]), """
print(chr(173).join(textwrap.wrap(S, 6)))
print(chr(0x2060).join(textwrap.wrap(S, 6)))
print(chr(0xfeff).join(textwrap.wrap(S, 6)))
display(HTML('&shy;'.join(textwrap.wrap(S, 6))))""".strip()),
    # Escapes of further programs
    *_channels(_of("w0rd"), r"""
print(W.replace('%', '%%'))
import re; print(re.escape(W))
import re; print(re.sub('%..', lambda m: m[0].lower(), urllib.parse.quote(W)))
import re; print(re.sub('%..', lambda m: m[0].lower(), urllib.parse.quote_plus(W)))
print(W.encode('ascii', 'namereplace').decode())
import http.cookies as h; c = h.SimpleCookie(); c['t'] = W; print(c)
import xmlrpc.client; print(xmlrpc.client.dumps((W, S), 'login'))
import plistlib; print(plistlib.dumps({'k': W}).decode())
import pickle; pickle.dumps([W])
import ast; print(ast.dump(ast.parse(f't = {W!r}'), indent=2))
import sqlite3; d = sqlite3.connect(':memory:'); d.execute('create table t(a)'); d.execute('insert into t values(?)', (W,)); print(*d.iterdump())
import argparse; argparse.Namespace(token=W)
print(json.dumps(json.dumps(json.dumps(W))))
print(repr(repr(repr(W))))
display(HTML('<iframe srcdoc="' + html.escape('<a title="' + html.escape(W) + '">') + '">'))
print(json.dumps(html.escape(json.dumps({'k': W}))))
print(json.dumps(str(W.encode())))""".strip()),
    Channel("display Code, as LaTeX", "display(Code(W, language='text'))", needle=_of("PYZdq{}q")),
    Channel("an e-mail's header", "from email.header import Header; print(Header(W + ' \u20ac', 'utf-8').encode())",
            needle=lambda: base64.b64encode(WILD.encode()).decode()[:12]),
    *_channels(_of(TOKEN[6:20]), r"""
import marshal; marshal.dumps(S)
import dis; dis.dis(compile(f't = {S!r}', 'x', 'exec'))
import zipfile; z = zipfile.ZipFile(io.BytesIO(), 'w'); z.writestr(S, 'x'); z.printdir()
subprocess.run(['sleep', '5', S], timeout=.1)
subprocess.run(f'echo {S}; exit 3', shell=True, check=True, capture_output=True)
_ = os.writev(1, [S[:9].encode(), S[9:].encode(), b'\n'])
_ = os.waitpid(os.posix_spawn('/bin/echo', ['echo', S], os.environ), 0)
ctypes.CDLL(None).perror(S.encode())
import pty; _ = pty.spawn(['echo', S])
open('/proc/self/fd/1', 'w').write(S + '\n')
!echo {S} | tee /dev/stderr
multiprocessing.log_to_stderr().error(S)
del type('A', (), {'__del__': lambda self: int(S)})().x
%sx echo {S}
%env TOK={S}
get_ipython().run_cell_magic('writefile', S + '.txt', 'x')
get_ipython().run_cell_magic('latex', '', '$' + S.replace('_', '\\_') + '$')
get_ipython().run_line_magic('run', S + '.py')
get_ipython().payload_manager.write_payload({'source': 'edit', 'filename': S, 'line_number': 1})
get_ipython().display_pub.publish({'text/plain': 'x'}, transient={'display_id': S})
k = get_ipython().kernel; k.send_response(k.iopub_socket, 'stream', {'name': 'stdout', 'text': S})""".strip()),
    Channel("kernel info", "get_ipython().kernel.implementation_version = S", ask=("kernel_info",)),
    # Cut by others
    *_channels(_of(TOKEN[16:24]), "pprint.pprint(S.encode(), width=20)"),
    *_channels(_TAIL, """
print(f'{S[:12]}[17 chars]{S[-11:]}')""".strip()),
    Channel("unittest's difference", "import unittest; unittest.TestCase().assertEqual(S + 'x' * 200, S + 'y' * 200)",
            needle=_HEAD),
]  # fmt: skip
