"""masking/ipython/, in a real kernel."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernels import Kernel, running

pytest.importorskip("ipykernel")

TOKEN = "ghp_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zAcDeF"  # made up
OTHER = "glpat-" + "Zy9Xw8Vu7Ts6Rq5Po4Nm"  # made up, and typed

SETUP = """
import asyncio, json, os, pathlib, sys, threading
from IPython.display import display
from colab_magics import masking
from colab_magics.masking import registry
from colab_magics.masking.patterns.matcher import Matcher
S = pathlib.Path("secret").read_text()
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("kernel")
    (folder / "secret").write_text(TOKEN)
    os.mkfifo(folder / "gate")
    with running(folder) as kernel:
        kernel.run(SETUP)
        yield kernel


@pytest.fixture
def kernel(shared: Kernel) -> Iterator[Kernel]:
    """An armed kernel that knows one secret."""
    said = shared.run("masking.arm(get_ipython()); masking.register(S)", silent=True)
    assert not said.of("error"), said.text
    yield shared
    shared.run("masking.disarm(get_ipython())", silent=True)


def test_arming_twice_and_disarming_leave_no_trace(shared: Kernel) -> None:
    """Arming again changes nothing; disarming puts back every method, event and file descriptor."""
    state = """
def state():
    shell = get_ipython()
    owners = shell.kernel.session, shell.history_manager, shell.logger
    names = 'send', 'serialize', 'send_raw', 'store_inputs', 'get_range', 'log_write'
    ours = [n for o in owners for n in vars(o) if n in names]
    events = {k: len(v) for k, v in shell.events.callbacks.items()}
    fds = [os.readlink(f'/proc/self/fd/{s._original_stdstream_copy}') for s in (sys.stdout, sys.stderr)]
    return json.dumps([ours, events, fds])
"""
    code = state + """
before = state()
masking.arm(get_ipython()); once = state(); masking.arm(get_ipython()); twice = state()
masking.disarm(get_ipython()); masking.disarm(get_ipython())
print(json.dumps([before, once, twice, state()]))
"""  # fmt: skip
    before, once, twice, after = json.loads(shared.run(code).stream("stdout"))
    assert before == after
    assert once == twice != before
    assert shared.run("masking.register(S); print(S)").stream("stdout") == TOKEN + "\n"


def test_nothing_but_the_secret_changes(kernel: Kernel) -> None:
    """Text, order and number of messages are those of a kernel without the mask."""
    text = 'plain \u20ac \U0001f600 \x1b[31mred\x1b[0m "q" \\back \x07 tab\t\x0b end\r\n' * 50
    said = kernel.run(f"sys.stdout.write({text!r}); display(1); print('a ' + S + ' b'); 7")
    assert said.stream("stdout") == text + "a *** b\n"
    kinds = [kind for kind in said.kinds if kind not in ("status", "execute_input", "execute_reply")]
    assert kinds == ["stream", "display_data", "stream", "execute_result"]


def test_a_beginning_is_shown_while_the_cell_still_runs(kernel: Kernel) -> None:
    """Text that might begin a secret is shown after a moment, not only when the cell ends: a prompt never hangs."""
    gate = kernel.folder / "gate"
    code = "print('prompt: ghp_', end='', flush=True)\nopen('gate').read()\nprint('done')"
    request = kernel.client.execute(code)
    seen = ""
    while "ghp_" not in seen:  # get_iopub_msg raises if nothing comes
        message = kernel.client.get_iopub_msg(timeout=20)
        if message["parent_header"].get("msg_id") == request and message["msg_type"] == "stream":
            seen += message["content"]["text"]
    assert seen == "prompt: ghp_"
    with gate.open("w"):
        pass  # lets the cell go on
    assert kernel.client.get_shell_msg(timeout=20)["content"]["status"] == "ok"


def test_a_secret_printed_slowly_never_adds_up(kernel: Kernel) -> None:
    """Even when the timer strikes between any two characters, the parts do not add up to the secret."""
    code = (
        "import time\nfor part in (S[:6], S[6:20], S[20:]): print(part, end='', flush=True); time.sleep(.25)\nprint()"
    )
    assert kernel.run(code).stream("stdout") == TOKEN[:6] + "***\n"


def test_a_secret_cut_by_the_end_of_a_cell(kernel: Kernel) -> None:
    """Half a secret at the end of one cell and the other half at the start of the next do not add up to it."""
    kernel.run("P = ''.join(['correct', 'horse', 'battery']); masking.register(P)")
    for secret in ("S", "P"):
        for cut in (4, 8, 20):
            said = [kernel.run(f"print({secret}[{part}], end='')").stream("stdout") for part in (f":{cut}", f"{cut}:")]
            whole = TOKEN if secret == "S" else "correcthorsebattery"
            assert said[0] in {"***", whole[:cut]}
            assert said[1] in ({""} if said[0] == "***" else {"***"})
            assert kernel.run("print('x')").stream("stdout") == "x\n"
    assert kernel.run("print(S[:7], end='')").stream("stdout") == TOKEN[:7]
    assert kernel.run("print('other', S[7:13])").stream("stdout") == f"other {TOKEN[7:13]}\n"


def test_asking_for_input(kernel: Kernel) -> None:
    """input and getpass work; what was printed before comes before the question, and the prompt is masked."""
    said = kernel.run("print('x ghp_', end=''); v = input('for ' + S + '? '); print(v[::-1])", answers=("abc",))
    assert said.of("input_request")[0]["prompt"] == "for ***? "
    assert said.stream("stdout") == "x ghp_cba\n"
    dates = {m["msg_type"]: m["header"]["date"] for m in reversed(said.messages)}
    assert dates["stream"] < dates["input_request"]
    said = kernel.run("import getpass; print(len(getpass.getpass()))", answers=("abcd",))
    assert said.of("input_request")[0]["password"] is True
    assert said.stream("stdout") == "4\n"


def test_errors_stay_errors(kernel: Kernel) -> None:
    """A masked exception keeps its type and status, in the reply as well."""
    said = kernel.run("raise KeyError(S)")
    assert said.of("error")[0]["ename"] == said.of("execute_reply")[0]["ename"] == "KeyError"
    assert said.of("error")[0]["evalue"] == "'***'"
    assert TOKEN not in said.text


def test_a_failing_mask_withholds_the_text(kernel: Kernel) -> None:
    """If masking raises, text is replaced by a notice; the messages themselves still come."""
    kernel.run("real = Matcher._spans\ndef bad(*a): raise RuntimeError(S)\nMatcher._spans = bad", silent=True)
    try:
        said = kernel.run("print('some words', S); display('some words ' + S); 1/0 if S else 0")
        assert said.kinds.count("status") == 2
        for output in (said.stream("stdout"), *said.of("display_data"), *said.of("error")):
            assert "withheld" in str(output)
            assert "RuntimeError" in str(output)
            assert "some words" not in str(output)
        assert TOKEN not in said.text
        assert said.of("execute_reply")[0]["status"] == "error"
    finally:
        kernel.run("Matcher._spans = real", silent=True)
    assert kernel.run("print('fine')").stream("stdout") == "fine\n"


def test_binary_buffers_keep_their_length(kernel: Kernel) -> None:
    """A buffer with a secret in it is overwritten in place; one without is sent as it is."""
    said = kernel.run(
        "from ipykernel.comm import Comm\nc = Comm('t')\n"
        "c.send({}, buffers=[b'\\0\\1' + S.encode() + b'\\2', memoryview(bytes(range(256)))])"
    )
    buffers = [bytes(b) for message in said.messages for b in message["buffers"]]
    assert buffers == [b"\0\1" + b"*" * len(TOKEN) + b"\2", bytes(range(256))]


def test_a_picture_stays_a_picture(kernel: Kernel) -> None:
    """A secret inside an image's bytes is overwritten there, so that the image can still be decoded."""
    kernel.run("import base64; from IPython.display import Image")
    said = kernel.run(
        "display(Image(b'\\x89PNG\\r\\n\\x1a\\n' + b'x' * 17 + b'y' + S.encode() + b'z' * 9, format='png'))"
    )
    import base64

    data = base64.b64decode(said.of("display_data")[0]["data"]["image/png"], validate=True)
    assert data == b"\x89PNG\r\n\x1a\n" + b"x" * 17 + b"y" + b"*" * len(TOKEN) + b"z" * 9


def test_threads_and_tasks(kernel: Kernel) -> None:
    """Many threads and tasks that print at once lose no line and show no secret."""
    code = """
def work(n):
    for i in range(20): print(f'<{n}:{i}:' + S + '>\\n', end='', flush=not i % 5)
threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
for t in threads: t.start()
for t in threads: t.join()
async def task(n):
    for i in range(20): print(f'<{n}:{i}:' + S + '>\\n', end=''); await asyncio.sleep(0)
await asyncio.gather(*map(task, range(6, 9)))
"""
    said = kernel.run(code)
    assert TOKEN not in said.text
    lines = [f"<{n}:{i}:***>" for n in range(9) for i in range(20)]
    assert sorted(said.stream("stdout").split("\n")[:-1]) == sorted(lines)


def test_history_holds_the_mask(kernel: Kernel) -> None:
    """A secret that is typed after it was registered is masked in In, _i and %history."""
    kernel.run(f"x = '{TOKEN}'")
    said = kernel.run("print(In[-2]); print(x == S)\n%history -n")
    assert TOKEN not in said.text
    assert "x = '***'" in said.stream("stdout")
    assert "True" in said.stream("stdout")


def test_a_notebook_is_exported_masked(kernel: Kernel) -> None:
    """What %notebook writes (from IPython 9 on with outputs) holds no secret, printed in pieces or raised either."""
    pytest.importorskip("nbformat")
    kernel.run("print(S[:20], end=''); print(S[20:]); display({'a': S})")
    kernel.run("raise ValueError(S)")
    kernel.run("S")
    kernel.run("pass")
    file = kernel.folder / "exported.ipynb"
    said = kernel.run("%notebook exported.ipynb")
    assert not said.of("error"), said.text
    assert TOKEN not in file.read_text()
    assert TOKEN[20:] not in file.read_text()
    kernel.run("masking.disarm(get_ipython())")
    kernel.run("%notebook exported.ipynb")
    if int(kernel.run("import IPython; print(IPython.version_info[0])").stream("stdout")) >= 9:
        assert "***" in file.read_text()


def test_a_typed_token_is_masked_with_one_warning(kernel: Kernel) -> None:
    """A token-shaped literal in a cell is masked at once, and one warning says to revoke it, without naming it."""
    said = kernel.run(f"t = '{OTHER}'\nprint(t)")
    assert said.stream("stdout") == "***\n"
    assert "revoke it" in said.stream("stderr")
    assert OTHER not in said.text
    again = kernel.run(f"print('{OTHER}', t)")
    assert again.stream("stdout") == "*** ***\n"
    assert again.stream("stderr") == ""
    assert kernel.run("'about ghp_ and glpat- tokens'").stream("stderr") == ""


def test_arming_inside_captured_output(shared: Kernel) -> None:
    """Arming while output is captured still masks the server's log, from the next cell on."""
    shared.run("from IPython.utils.capture import capture_output\nwith capture_output(): masking.arm(get_ipython())")
    try:
        pipe = "print(*[os.readlink(f'/proc/self/fd/{s._original_stdstream_copy}') for s in (sys.stdout, sys.stderr)])"
        assert shared.run(pipe).stream("stdout").count("pipe:") == 2
    finally:
        shared.run("masking.disarm(get_ipython())", silent=True)


def test_the_log_keeps_its_order_and_its_bytes(kernel: Kernel) -> None:
    """What reaches the server's log is the same bytes, valid text or not, but for the secret."""
    end = b"the end of it\n"
    said = kernel.run(
        "_ = os.write(sys.stdout.fileno(), b'A \\xff\\xfe \\xe2\\x82' + S.encode()[:20])\n"
        "_ = os.write(sys.stdout.fileno(), S.encode()[20:] + b' B ' + bytes([0xac]) + b' the end of it\\n')",
        until=lambda _: end in kernel.log.read_bytes(),
    )
    assert not said.of("error")
    assert b"A \xff\xfe \xe2\x82*** B \xac the end of it\n" in kernel.log.read_bytes()


def test_a_fork_does_not_repeat_what_is_held_back(kernel: Kernel) -> None:
    """A forked child neither repeats nor unmasks what its parent had not shown yet."""
    code = """
print('x ghp_aB', end='', flush=True)
pid = os.fork()
if not pid:
    print('[child ' + S + ']', flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(S[6:] + ' y')
"""
    said = kernel.run(code, until=lambda said: "child" in said.stream("stdout"))
    assert TOKEN not in said.text
    # How much of a beginning is shown before its mask depends on when the timer strikes.
    rest = said.stream("stdout").replace("[child ***]", "").replace("\n", "")
    assert rest in {"x *** y", "x ghp_aB*** y"}


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_a_child_outlives_the_mask(kernel: Kernel) -> None:
    """A process that was given the kernel's stdout can go on writing after the mask is taken off."""
    kernel.run(
        "import subprocess\np = subprocess.Popen([sys.executable, '-c', \"print(open('gate').read(), flush=True)\"], "
        "stdout=sys.stdout)\nmasking.disarm(get_ipython())"
    )
    with (kernel.folder / "gate").open("w") as gate:
        gate.write("late words")
    kernel.run("print(p.wait())", until=lambda _: b"late words" in kernel.log.read_bytes())
    assert b"late words" in kernel.log.read_bytes()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_an_idle_mask_does_nothing(kernel: Kernel) -> None:
    """Once nothing is held back no timer is left, and the two threads before the server's log do not even wake up."""
    kernel.run("print('x ghp_', end='', flush=True)", until=lambda said: "ghp_" in said.stream("stdout"))
    code = """
from colab_magics.masking.ipython import arming
armed = vars(get_ipython())[arming._ATTRIBUTE]
ours = sorted(t.name for t in threading.enumerate() if 'colab' in t.name or isinstance(t, threading.Timer))
def held(): return any(tail.timed or tail.mask.holding for tail in armed._face._tails.values())
def switches():
    ids = [t.native_id for t in threading.enumerate() if t.name == 'colab_magics-echo']
    status = [pathlib.Path(f'/proc/self/task/{n}/status').read_text() for n in ids]
    return [line for text in status for line in text.splitlines() if 'ctxt' in line]
print(json.dumps(ours))
"""
    assert json.loads(kernel.run(code).stream("stdout")) == ["colab_magics-echo"] * 2
    # The last timer may still have to strike; then there is no other.
    assert any(kernel.run("print(held())").stream("stdout") == "False\n" for _ in range(100))
    work = "before = switches()\nfor _ in range(10_000): _ = sum(range(1000))\nprint(before == switches(), held())"
    assert kernel.run(work).stream("stdout") == "True False\n"


def test_the_debugger_shows_no_secret(kernel: Kernel) -> None:
    """What the debugger tells a front end about variables is masked, and is told all the same."""
    pytest.importorskip("debugpy")
    try:
        shown = []
        for armed in (False, True):
            kernel.run(f"masking.{'arm' if armed else 'disarm'}(get_ipython())", silent=True)
            starting = [("initialize", {"adapterID": "x", "clientID": "x", "pathFormat": "path"}), ("attach", {})]
            asked = [("inspectVariables", {}), ("richInspectVariables", {"variableName": "S"})]
            for number, (command, arguments) in enumerate((starting if not armed else []) + asked):
                content = {"type": "request", "seq": number + 1, "command": command, "arguments": arguments}
                answer = kernel.control("debug_request", **content)
                if (command, arguments) in asked:
                    shown.append(answer.text)
        assert all(TOKEN in text for text in shown[:2])
        assert not any(TOKEN in text or TOKEN[4:16] in text for text in shown[2:])
        assert all("***" in text for text in shown[2:])
    finally:
        kernel.control("debug_request", type="request", seq=9, command="disconnect", arguments={"restart": False})


def test_a_subshell_shows_no_secret(kernel: Kernel) -> None:
    """A cell that runs in a subshell, beside the main one, is masked as well."""
    if "kernel subshells" not in kernel.ask("kernel_info").of("kernel_info_reply")[0].get("supported_features", []):
        pytest.skip("subshells came with ipykernel 7")
    said = kernel.run_in_subshell("print('from a subshell', S)")
    assert said.stream("stdout") == "from a subshell ***\n"
    assert TOKEN not in said.text
