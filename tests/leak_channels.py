"""The ways out of a kernel, as a table: a cell that lets a secret out, and what to look for.

In every cell, ``S`` is the secret (a token), ``W`` a second one with characters that get escaped.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

TOKEN = "ghp_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zAcDeF"  # made up
WILD = "pa/ss+w0rd \"q'uo\\te&<tag>%=\u00fc\u20ac-end"

SETUP = """
import asyncio, base64, ctypes, html, io, json, logging, multiprocessing, os, pathlib, pprint, subprocess, sys
import textwrap, threading, time, traceback, urllib.parse, warnings
from IPython.display import *
S, W = json.loads(pathlib.Path("secrets.json").read_text())
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
